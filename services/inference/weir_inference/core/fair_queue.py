"""Whose turn it is: requests that wait, and what every tenant was given so far.

Virtual token counters: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024. A
tenant's counter grows by the weighted tokens that it is served; who has the least goes first. A
tenant that comes back is lifted to the others' level: it neither saves up credit by being away nor
loses its debt.

One thing is added to the paper. There, newcomers are lifted to the least counter among the waiting,
which an endless row of new tenants would keep from rising, so that anyone above it starves. Here
that level also rises with all service, by each tenant's equal part of it (the virtual time of fair
queueing), so that it passes whoever waits, and newcomers queue up behind.
"""

from collections import OrderedDict
from collections.abc import Iterator

from weir_inference.core.sequence import Sequence
from weir_inference.core.tenant import Tenant

INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2
IDLE_TENANTS_MAX = 1024


class FairQueue:
    """The waiting sequences, by tenant; also counts what their tenants run."""

    def __init__(self) -> None:
        self.n_tokens = 0  # of all prompts that wait
        self._n_waiting = 0
        self._tenants: dict[str, Tenant] = {}
        self._idle: OrderedDict[str, float] = OrderedDict()  # only debts: what is above the level
        self._level = 0.0
        self._left_last: Tenant | None = None

    def __len__(self) -> int:
        return self._n_waiting

    def __iter__(self) -> Iterator[Sequence]:
        for tenant in self._tenants.values():
            yield from tenant

    @property
    def n_tenants(self) -> int:
        """Tenants that wait for or run something."""
        return len(self._tenants)

    def tenant(self, sequence: Sequence) -> Tenant:
        """Whose a sequence is that has not ended."""
        return self._tenants[sequence.request.tenant_id]

    def add(self, sequence: Sequence) -> None:
        """A new request."""
        tenant_id = sequence.request.tenant_id
        tenant = self._tenants.get(tenant_id)
        if tenant is None or tenant.n_waiting == 0:
            self._raise_level()
        if tenant is None:
            tenant = self._tenants[tenant_id] = Tenant(tenant_id, self._idle.pop(tenant_id, 0.0))
        if tenant.n_waiting == 0:
            tenant.served = max(tenant.served, self._level)
        self._put(tenant, sequence)

    def put_back(self, sequence: Sequence) -> None:
        """A running sequence lost its place."""
        tenant = self.tenant(sequence)
        tenant.n_running -= 1
        self._put(tenant, sequence)

    def take(self, sequence: Sequence) -> None:
        """A waiting sequence runs from now on."""
        tenant = self.tenant(sequence)
        self._remove(tenant, sequence)
        tenant.n_running += 1
        self._left_last = tenant

    def forget(self, sequence: Sequence, running: bool) -> None:
        """A sequence ended."""
        tenant = self.tenant(sequence)
        if running:
            tenant.n_running -= 1
        else:
            self._remove(tenant, sequence)
        if tenant.n_running == tenant.n_waiting == 0:
            del self._tenants[tenant.tenant_id]
            if tenant.served > self._level:  # who is not above it is lifted to it anyway
                self._idle[tenant.tenant_id] = tenant.served
                if len(self._idle) > IDLE_TENANTS_MAX:
                    self._idle.popitem(last=False)

    def charge(self, sequence: Sequence, weighted_tokens: int) -> None:
        """Its tenant was given so much."""
        self.tenant(sequence).served += weighted_tokens
        self._level += weighted_tokens / len(self._tenants)

    def head(self, now_s: float, without_place: bool = False) -> Sequence | None:
        """The next to leave: the first of the tenant served least; of those that run nothing."""
        waiting = (
            tenant
            for tenant in self._tenants.values()
            if tenant.n_waiting and not (without_place and tenant.n_running)
        )
        least = min(waiting, key=lambda tenant: (tenant.served, tenant.n_running), default=None)
        return None if least is None else least.head(now_s)

    def _put(self, tenant: Tenant, sequence: Sequence) -> None:
        tenant.put(sequence)
        self._n_waiting += 1
        self.n_tokens += len(sequence.request.prompt_token_ids)

    def _remove(self, tenant: Tenant, sequence: Sequence) -> None:
        tenant.remove(sequence)
        self._n_waiting -= 1
        self.n_tokens -= len(sequence.request.prompt_token_ids)

    def _raise_level(self) -> None:
        """To the least served that waits; to who left the queue last if nobody does."""
        waiting = [tenant.served for tenant in self._tenants.values() if tenant.n_waiting]
        last = self._left_last.served if self._left_last is not None else 0.0
        self._level = max(self._level, min(waiting, default=last))
