"""What vLLM's scheduler says of itself with each step."""

from typing import Any


class Statistics:
    """A `StatLogger` of vLLM: keeps the latest numbers, logs nothing.

    With several data-parallel engines each has its own part, by its index.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[int, int, float]] = {}
        self.steps = 0
        self.preemptions = 0

    def __call__(self, config: Any, engine_index: int = 0) -> "Statistics":
        """vLLM makes its loggers by calling what it was given."""
        del config, engine_index
        return self

    @property
    def running(self) -> int:
        """Requests in steps."""
        return sum(running for running, _, _ in self._latest.values())

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(waiting for _, waiting, _ in self._latest.values())

    @property
    def kv_usage(self) -> float:
        """The share of the KV cache that is held, 0 to 1."""
        usages = [usage for _, _, usage in self._latest.values()]
        return sum(usages) / len(usages) if usages else 0.0

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Called by vLLM after each step."""
        del mm_cache_stats
        if scheduler_stats is not None:
            self.steps += 1
            self._latest[engine_idx] = (
                scheduler_stats.num_running_reqs,
                scheduler_stats.num_waiting_reqs,
                scheduler_stats.kv_cache_usage,
            )
        if iteration_stats is not None:
            self.preemptions += iteration_stats.num_preempted_reqs

    def log_engine_initialized(self) -> None:
        """Nothing is logged."""

    def log(self) -> None:
        """Nothing is logged."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """vLLM is never put to sleep."""
