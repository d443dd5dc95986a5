"""Planning a step while the one before it is being computed: what a GPU needs to be busy always.

The tokens that the step under way chooses are not known yet, but where all sequences decode, all
else is: that each goes on with one token, at which position, in which block, by which random
number. Only whether one of them has ended is seen too late: what was computed for it then is
dropped, as it is where a caller leaves during a step.
"""

from collections.abc import Sequence as ReadOnlyList

from weir_inference.core.kv_memory import KVMemory
from weir_inference.core.limits import Limits
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import Slice, StepPlan


def plan_after(
    plan: StepPlan, running: ReadOnlyList[Sequence], memory: KVMemory, limits: Limits
) -> StepPlan | None:
    """The step that follows one under way, its blocks reserved; None if it is to be waited for.

    It changes nothing but that sequences hold those blocks, which they need next in any case: so a
    follower that is dropped needs no roll-back.
    """
    if limits.draft_tokens and len(running) <= limits.draft_max_running:
        return None  # guesses at what comes next need what came last
    live = [(n, one) for n, one in enumerate(plan.slices) if one.sequence.state is State.RUNNING]
    if len(live) < len(running) or not all(_foreseeable(one) for _, one in live):
        return None
    going_on = [(n, one) for n, one in live if one.n_output + 1 < one.request.max_output_tokens]
    n_lacking = sum(memory.n_lacking(one.sequence, 1) for _, one in going_on)
    if not going_on or n_lacking > memory.pool.n_free:
        return None
    for _, one in going_on:
        memory.grow(one.sequence, 1)
    return StepPlan(
        tuple(
            Slice(
                sequence=one.sequence,
                start=one.end,
                token_ids=(0,),
                block_ids=one.sequence.block_ids,
                samples=True,
                n_output=one.n_output + 1,
                follows=n,
            )
            for n, one in going_on
        )
    )


def _foreseeable(one: Slice) -> bool:
    """Whether its next token depends on nothing but the last one, and is all that is told of it."""
    request = one.request
    return (
        one.samples
        and not one.n_draft
        and one.sequence.prompt_scored
        and request.grammar is None
        and request.top_logprobs is None
        and not request.sampling.changes_logits
    )
