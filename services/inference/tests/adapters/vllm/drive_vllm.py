"""Runs in vLLM's environment: drives the engine over a model's folder, prints what came, as JSON.

python drive_vllm.py FOLDER PROMPTS    prompts of token ids, as JSON
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from weir_inference.adapters.engines.vllm.vllm_engine import VllmEngine, open_vllm_engine
from weir_inference.core.engine import Delta, Finished, PromptScored, Started
from weir_inference.core.grammar import GrammarSpec
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.vllm_spec import VllmDtype, VllmSpec
from weir_kit.clock import SystemClock
from weir_kit.errors import InvalidArgument

N_OUTPUT = 12


def request(name: str, prompt: list[int], **changes: Any) -> Request:
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    return Request(
        name, tuple(prompt), **{"max_output_tokens": N_OUTPUT, "sampling": sampling} | changes
    )


async def told_by(engine: VllmEngine, asked: Request) -> dict[str, Any]:
    """A request's events, as one record."""
    generation = engine.submit(asked)
    events = [event async for event in generation.events()]
    deltas = [event for event in events if isinstance(event, Delta)]
    last = events[-1]
    assert isinstance(events[0], Started)
    assert isinstance(last, Finished)
    scored = [event.logprobs for event in events if isinstance(event, PromptScored)]
    return {
        "token_ids": [i for delta in deltas for i in delta.token_ids],
        "logprobs": [one.logprob for delta in deltas for one in delta.logprobs],
        "tops": [list(one.top) for delta in deltas for one in delta.logprobs],
        "prompt_logprobs": [one.logprob for scores in scored for one in scores],
        "reason": last.reason,
        "counted": generation.close().output_tokens,
    }


async def close_half_way(engine: VllmEngine, asked: Request, other: Request) -> dict[str, Any]:
    """Close a request after its first tokens, then run another: what vLLM's last step had then."""
    generation = engine.submit(asked)
    async for event in generation.events():
        if isinstance(event, Delta):
            break
    running = engine.load().running_requests
    reason = generation.close().reason
    await told_by(engine, other)
    return {"running": running, "running_after": engine._statistics.running, "reason": reason}


async def field_refused(engine: VllmEngine, asked: Request) -> str | None:
    try:
        await told_by(engine, asked)
    except InvalidArgument as error:
        return error.field or "no field"
    return None


async def main(folder: Path, prompts: list[list[int]]) -> dict[str, Any]:
    spec = VllmSpec(
        dtype=VllmDtype.FLOAT32,
        max_model_len=128,
        max_num_seqs=4,
        kv_cache_memory_mb=64,
        enforce_eager=True,
    )
    async with open_vllm_engine("tiny", folder, spec, SystemClock()) as engine:
        told = await asyncio.gather(
            *(told_by(engine, request(f"{n}", prompt)) for n, prompt in enumerate(prompts))
        )
        scored = await told_by(
            engine, request("scored", prompts[0], top_logprobs=2, prompt_top_logprobs=0)
        )
        stop = Sampling(temperature=0.0, ignore_eos=True, stop_token_ids=(told[0]["token_ids"][4],))
        return {
            "model": [engine.model.vocab_size, engine.model.parameters, engine.model.dtype],
            "greedy": told,
            "scored": scored,
            "stopped": await told_by(engine, request("stopped", prompts[0], sampling=stop)),
            "closed": await close_half_way(
                engine,
                request("closed", prompts[1], max_output_tokens=120),
                request("other", prompts[0]),
            ),
            "grammar": await field_refused(
                engine,
                request(
                    "grammar",
                    prompts[0],
                    grammar=await engine.compile_grammar(GrammarSpec("regex", ("a+",))),
                ),
            ),
            "load": [engine.load().running_requests, engine.load().kv_blocks_held],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))))
