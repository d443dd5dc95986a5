"""Who waits goes by when it is due, and nobody waits for good."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.call_queue import CLASS_S, Call, CallQueue
from weir_inference.core.request import Priority
from weir_inference.core.tensor_engine import InferRequest

PRIORITIES = st.sampled_from(Priority)


@pytest.fixture(scope="module", autouse=True)
def event_loop_of_the_answers() -> Iterator[None]:
    """Futures need a loop, though nothing waits for one here."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def call(
    number: int,
    at_s: float = 0.0,
    *,
    rows: int = 1,
    kind: str = "",
    priority: Priority = Priority.NORMAL,
    deadline_s: float | None = None,
) -> Call:
    request = InferRequest({}, priority=priority, deadline_s=deadline_s)
    return Call(number, request, rows, kind, at_s, asyncio.Future())


def numbers(calls: list[Call]) -> list[int]:
    return [one.number for one in calls]


def test_high_priority_goes_first_and_equals_in_their_order() -> None:
    queue = CallQueue()
    for number, priority in enumerate(
        [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.HIGH]
    ):
        queue.put(call(number, priority=priority))
    assert numbers(queue.take(9)) == [2, 3, 1, 0]


def test_a_call_near_its_deadline_goes_before_higher_priorities() -> None:
    queue = CallQueue()
    queue.put(call(0, 0.2, priority=Priority.HIGH))
    queue.put(call(1, 0.1, priority=Priority.LOW, deadline_s=0.15))
    assert numbers(queue.take(1)) == [1]


@given(st.lists(PRIORITIES, min_size=1, max_size=5), st.data())
def test_two_seconds_later_no_newcomer_goes_before_who_waits(
    waiting: list[Priority], data: st.DataObject
) -> None:
    queue = CallQueue()
    for number, priority in enumerate(waiting):
        queue.put(call(number, priority=priority))
    later_s = CLASS_S * Priority.LOW + 0.001
    newcomers = data.draw(
        st.lists(st.tuples(PRIORITIES, st.none() | st.floats(later_s, 10)), max_size=5)
    )
    for number, (priority, deadline_s) in enumerate(newcomers, start=len(waiting)):
        queue.put(call(number, later_s, priority=priority, deadline_s=deadline_s))
    first = numbers(queue.take(len(waiting)))
    assert sorted(first) == list(range(len(waiting)))


CALLS = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from("ab"), PRIORITIES, st.floats(0, 3)), max_size=12
)


@given(CALLS, st.integers(1, 8), st.sets(st.integers(0, 11)))
def test_batches_are_of_one_kind_within_bounds_and_hold_each_call_once(
    calls: list[tuple[int, str, Priority, float]], rows_max: int, gone: set[int]
) -> None:
    queue = CallQueue()
    made = [
        call(number, at_s, rows=rows, kind=kind, priority=priority)
        for number, (rows, kind, priority, at_s) in enumerate(calls)
    ]
    for one in made:
        queue.put(one)
    for number in gone & set(range(len(made))):
        queue.discard(made[number])
        queue.discard(made[number])  # who is no longer there is no matter
    taken: list[int] = []
    while head := queue.head():
        assert queue.rows == sum(one.rows for one in made) - sum(
            made[number].rows for number in {*taken, *gone} if number < len(made)
        )
        batch = queue.take(rows_max)
        assert batch[0] is head
        assert len({one.kind for one in batch}) == 1
        assert len(batch) == 1 or sum(one.rows for one in batch) <= rows_max
        dues = [(one.due_s, one.number) for one in batch]
        assert dues == sorted(dues)
        taken += numbers(batch)
    assert sorted(taken) == [number for number in range(len(made)) if number not in gone]
    assert (len(queue), queue.rows, queue.take(rows_max)) == (0, 0, [])
