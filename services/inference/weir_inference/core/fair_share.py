"""Who gives way to a tenant that has less than its share of the places and the memory."""

from collections.abc import Iterable
from collections.abc import Sequence as ReadOnlyList
from dataclasses import dataclass

from weir_inference.core.block_pool import BlockPool
from weir_inference.core.limits import Limits
from weir_inference.core.sequence import Sequence


@dataclass
class Holding:
    """What a tenant holds, its youngest sequence last."""

    sequences: list[Sequence]
    n_blocks: int

    def share(self, limits: Limits, more_running: int = 0, more_blocks: int = 0) -> float:
        """The larger one of its parts of the places and of the memory."""
        n_running = len(self.sequences) + more_running
        return max(n_running / limits.max_running, (self.n_blocks + more_blocks) / limits.n_blocks)


def holdings_of(running: Iterable[Sequence]) -> dict[str, Holding]:
    """What each tenant holds that runs something."""
    holdings: dict[str, Holding] = {}
    for sequence in sorted(running, key=lambda sequence: sequence.number):
        holding = holdings.setdefault(sequence.request.tenant_id, Holding([], 0))
        holding.sequences.append(sequence)
        holding.n_blocks += len(sequence.block_ids)
    return holdings


def who_gives_way(
    running: ReadOnlyList[Sequence],
    newcomer: Sequence,
    *,
    limits: Limits,
    n_tenants: int,
    pool: BlockPool,
    n_blocks: int,
    n_lacking: int,
    n_free: int,
) -> list[Sequence] | None:
    """Who has to go for the newcomer to run: often nobody; None if it has to wait.

    It will hold `n_blocks`; needed are a place and, of the `n_free`, the `n_lacking` and one more
    for each sequence that runs on. Nobody goes for a tenant that would pass an equal share by it,
    unless it runs nothing. The youngest of who holds most goes, if that is more than an equal
    share, and is still as much as the newcomer's tenant will hold. So the larger holding never
    shrinks below what the smaller grows to: they cannot drive each other out in turns. And of each
    tenant the oldest stays.
    """
    victims: list[Sequence] = []
    n_left = len(running)

    def fits() -> bool:
        return n_left < limits.max_running and n_lacking + n_left <= n_free

    if fits():
        return victims
    holdings = holdings_of(running)
    mine = holdings.pop(newcomer.request.tenant_id, Holding([], 0))
    equal, target = 1 / n_tenants, mine.share(limits, 1, n_blocks)
    if not holdings or (mine.sequences and target > equal):
        return None
    while not fits():
        largest = max(holdings.values(), key=lambda holding: holding.share(limits))
        victim = largest.sequences[-1]
        n_given = len(victim.block_ids)
        if len(largest.sequences) == 1 or largest.share(limits) <= equal:
            return None
        if largest.share(limits, -1, -n_given) < target:
            return None
        largest.sequences.pop()
        largest.n_blocks -= n_given
        victims.append(victim)
        n_left -= 1
        n_free += pool.n_only_in(victim.block_ids)
    return victims
