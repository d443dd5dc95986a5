"""Generate, as the gateway sees it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_kit import telemetry
from weir_kit.errors import (
    AlreadyExists,
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidArgument,
    ModelNotFound,
    PermissionDenied,
    QueueFull,
    Unauthenticated,
    WeirError,
)
from weir_kit.status import raising_weir_errors

Bench = Any
OpenBench = Any


def request(name: str = "req_1", n_output: int = 8, **fields: Any) -> pb.GenerateRequest:
    sampling = fields.pop("sampling", pb.Sampling(temperature=0, ignore_eos=True))
    values = {"model": "tiny", "prompt_token_ids": [3, 4, 5], "sampling": sampling} | fields
    return pb.GenerateRequest(request_id=name, max_output_tokens=n_output, **values)


async def answers(call: AsyncIterator[pb.GenerateResponse]) -> list[pb.GenerateResponse]:
    with raising_weir_errors():
        return [answer async for answer in call]


def tokens(got: list[pb.GenerateResponse]) -> list[int]:
    return [token_id for answer in got for token_id in answer.delta.token_ids]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.005)


async def test_a_generation_starts_streams_and_finishes_with_usage(bench: Bench) -> None:
    got = await answers(bench.generate(request()))
    kinds = [answer.WhichOneof("event") for answer in got]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert set(kinds[1:-1]) == {"delta"}
    assert got[-1].finished.reason == pb.FINISH_REASON_LENGTH
    n_output = 0
    for answer in got:
        n_output += len(answer.delta.token_ids)
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, n_output)
    assert n_output == 8


async def test_the_end_of_text_token_stops_and_is_not_sent(bench: Bench) -> None:
    long = request(n_output=1000, sampling=pb.Sampling(temperature=1.5, seed=3))
    got = await answers(bench.generate(long))
    assert got[-1].finished.reason == pb.FINISH_REASON_STOP
    assert 2 not in tokens(got)
    assert got[-1].usage.output_tokens == len(tokens(got))


async def test_the_same_seed_gives_the_same_tokens_whatever_runs_beside(bench: Bench) -> None:
    sampling = pb.Sampling(temperature=1.0, top_p=0.9, seed=2**64 - 1, ignore_eos=True)
    alone = await answers(bench.generate(request("alone", 30, sampling=sampling)))
    crowd = [
        answers(bench.generate(request(f"other_{n}", 20 + n, prompt_token_ids=range(3, 9 + n))))
        for n in range(6)
    ]
    mine = answers(bench.generate(request("again", 30, sampling=sampling)))
    again, *_ = await asyncio.gather(mine, *crowd)
    assert tokens(again) == tokens(alone)


async def test_each_of_n_outputs_is_what_its_seed_gives_alone(bench: Bench) -> None:
    def seeded(seed: int) -> pb.Sampling:
        return pb.Sampling(temperature=1.0, seed=seed, ignore_eos=True)

    alone = [
        tokens(await answers(bench.generate(request(f"alone_{n}", 12, sampling=seeded(seed)))))
        for n, seed in enumerate((2**64 - 1, 0, 1))
    ]
    got = await answers(bench.generate(request("all", 12, sampling=seeded(2**64 - 1), n=3)))
    for output in range(3):
        mine = [a for a in got if a.WhichOneof("event") == "delta" and a.delta.output == output]
        assert tokens(mine) == alone[output]
    assert got[-1].usage.output_tokens == 36
    assert (await bench.load()).kv_blocks_used == 0


async def test_a_prompt_is_cached_for_its_tenant_alone(bench: Bench) -> None:
    async def cached(name: str, tenant_id: str) -> int:
        prompt = [3 + n % 60 for n in range(100)]
        call = bench.generate(request(name, prompt_token_ids=prompt), tenant_id=tenant_id)
        return int((await answers(call))[-1].usage.cached_input_tokens)

    assert await cached("first", "ten_1") == 0
    assert 64 <= await cached("again", "ten_1") < 100
    assert await cached("other", "ten_2") == 0
    assert (await bench.load()).cached_tokens >= 64


async def test_log_probabilities_tell_of_prompt_and_output(bench: Bench) -> None:
    asked = request(n_output=6, top_logprobs=3, prompt_top_logprobs=1)
    got = await answers(bench.generate(asked))
    assert [a.WhichOneof("event") for a in got[:2]] == ["started", "prompt_scored"]
    assert [one.token_id for one in got[1].prompt_scored.logprobs] == [4, 5]
    told = [one for answer in got for one in answer.delta.logprobs]
    assert [one.token_id for one in told] == tokens(got)
    for one in told:  # greedy: the likeliest
        assert (one.token_id, one.logprob) == (one.top[0].token_id, one.top[0].logprob)
        assert 0 >= one.top[0].logprob >= one.top[1].logprob >= one.top[2].logprob


async def test_a_stop_token_ends_the_output_and_a_bias_chooses_it(bench: Bench) -> None:
    sampling = pb.Sampling(temperature=0, logit_bias={9: 100.0}, stop_token_ids=[9])
    got = await answers(bench.generate(request(sampling=sampling)))
    assert got[-1].finished.reason == pb.FINISH_REASON_STOP
    assert tokens(got) == []


async def test_a_grammar_needs_a_tokenizer_in_the_models_folder(bench: Bench) -> None:
    sampling = pb.Sampling(grammar=pb.Grammar(regex="a+"))
    with pytest.raises(InvalidArgument) as refused:
        await answers(bench.generate(request(sampling=sampling)))
    assert refused.value.field == "sampling.grammar"


async def test_without_a_seed_the_server_draws_one(bench: Bench) -> None:
    sampling = pb.Sampling(temperature=1.0, ignore_eos=True)
    first, second = [
        tokens(await answers(bench.generate(request(name, 40, sampling=sampling))))
        for name in ("a", "b")
    ]
    assert first != second


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"prompt_token_ids": []}, InvalidArgument, "prompt_token_ids"),
        ({"prompt_token_ids": [3, 64]}, InvalidArgument, "prompt_token_ids"),
        ({"n_output": 0}, InvalidArgument, "max_output_tokens"),
        ({"n_output": -5}, InvalidArgument, "max_output_tokens"),
        ({"n_output": 4094}, ContextLengthExceeded, "max_output_tokens"),
        ({"prompt_token_ids": [3] * 5000}, ContextLengthExceeded, "prompt_token_ids"),
        ({"sampling": pb.Sampling(temperature=2.5)}, InvalidArgument, "sampling.temperature"),
        ({"sampling": pb.Sampling(top_p=0)}, InvalidArgument, "sampling.top_p"),
        ({"sampling": pb.Sampling(top_k=-1)}, InvalidArgument, "sampling.top_k"),
    ],
)
async def test_a_bad_field_is_named(
    bench: Bench, fields: dict[str, Any], error: type[WeirError], field: str
) -> None:
    with pytest.raises(error) as refused:
        await answers(bench.generate(request(**fields)))
    assert type(refused.value) is error
    assert refused.value.field == field
    assert await bench.metered() == []


@pytest.mark.parametrize(
    ("admitted", "error"),
    [
        ({"request_id": "req_other"}, PermissionDenied),
        ({"model": "other"}, PermissionDenied),
        ({"expires_at_s": 1.0}, Unauthenticated),
    ],
)
async def test_an_admission_for_something_else_is_refused(
    bench: Bench, admitted: dict[str, Any], error: type[WeirError]
) -> None:
    with pytest.raises(error):
        await answers(bench.generate(request(), **admitted))


async def test_a_call_without_admission_is_refused(bench: Bench) -> None:
    with pytest.raises(Unauthenticated):
        await answers(bench.inference.Generate(request(), timeout=10))


async def test_an_admitted_model_that_is_not_here_is_not_found(bench: Bench) -> None:
    with pytest.raises(ModelNotFound):
        await answers(bench.generate(request(model="elsewhere")))


async def test_cancelling_frees_the_blocks_and_is_metered(bench: Bench) -> None:
    call = bench.generate(request("req_gone", 4000))
    events = aiter(call)
    assert (await anext(events)).WhichOneof("event") == "started"
    n_seen = 0
    while n_seen < 5:
        n_seen += len((await anext(events)).delta.token_ids)
    assert (await bench.load()).kv_blocks_used > 0
    call.cancel()

    async def freed() -> bool:
        load = await bench.load()
        return load.kv_blocks_used == load.running_requests == load.queued_requests == 0

    await until(freed)
    steps = (await bench.load()).steps

    async def metered() -> bool:
        return bool(await bench.metered())

    await until(metered)
    (entry,) = await bench.metered()
    assert (entry["request_id"], entry["reason"]) == ("req_gone", "cancelled")
    assert n_seen <= int(entry["output_tokens"]) < 4000
    assert (await bench.load()).steps <= steps + 1, "nothing computes for a caller who left"


async def test_a_passed_deadline_ends_the_call_and_is_metered(open_bench: OpenBench) -> None:
    # Without drafts: by them the tiny model writes its whole context before the deadline.
    async with open_bench(WEIR_INFERENCE_DRAFT_TOKENS="0") as bench:
        with pytest.raises(DeadlineExceeded):
            await answers(bench.generate(request("req_late", 4000), timeout=0.15))

        async def metered() -> bool:
            return bool(await bench.metered())

        await until(metered)
        (entry,) = await bench.metered()
        assert entry["reason"] == "deadline"
        assert (await bench.load()).kv_blocks_used == 0


async def test_a_full_queue_says_when_to_come_back(open_bench: OpenBench) -> None:
    async with open_bench(WEIR_INFERENCE_MAX_RUNNING="1", WEIR_INFERENCE_MAX_QUEUED="1") as bench:
        running = bench.generate(request("running", 4000))
        assert (await anext(aiter(running))).WhichOneof("event") == "started"
        waiting = bench.generate(request("waiting", 4000))

        async def queued() -> bool:
            return (await bench.load()).queued_requests == 1

        await until(queued)
        with pytest.raises(QueueFull) as refused:
            await answers(bench.generate(request("refused")))
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s >= 1
        running.cancel()
        assert (await anext(aiter(waiting))).WhichOneof("event") == "started"
        waiting.cancel()


async def test_a_request_id_in_use_is_refused(bench: Bench) -> None:
    first = bench.generate(request("twice", 4000))
    await anext(aiter(first))
    with pytest.raises(AlreadyExists):
        await answers(bench.generate(request("twice")))
    first.cancel()


async def test_a_finished_request_is_metered_with_its_tenant(bench: Bench) -> None:
    await answers(bench.generate(request("req_done", 8)))

    async def metered() -> bool:
        return bool(await bench.metered())

    await until(metered)
    (entry,) = await bench.metered()
    assert float(entry.pop("at_s")) > 1_700_000_000
    assert entry == {
        "request_id": "req_done",
        "tenant_id": "ten_1",
        "model": "tiny",
        "input_tokens": "3",
        "output_tokens": "8",
        "reason": "length",
        "items": "0",
        "compute_us": "0",
        "model_version": "",
    }


async def test_queue_prefill_and_decode_are_spans_under_the_calls_own(bench: Bench) -> None:
    with telemetry.span("test") as span:
        await answers(bench.generate(request("req_traced")))
    spans = {s.name: s for s in telemetry.ring.of_trace(span.context.trace_id)}
    server = next(s for s in spans.values() if s.kind == "server")
    for name in ("queue", "prefill", "decode"):
        assert spans[name].service == "inference"
        assert spans[name].parent_span_id == server.span_id
    assert spans["queue"].start_unix_nanos >= server.start_unix_nanos - 5_000_000
    assert spans["decode"].attributes["tokens"] == 8


async def test_a_slow_reader_gets_what_is_pending_as_one_delta(bench: Bench) -> None:
    call = bench.generate(request("req_slow", 200))
    events = aiter(call)
    await anext(events)

    async def done() -> bool:
        return bool(await bench.metered()) or (await bench.load()).running_requests == 0

    await until(done)
    rest = [answer async for answer in events]
    assert sum(len(answer.delta.token_ids) for answer in rest) == 200
    assert len(rest) < 30


async def test_many_requests_at_once_all_finish_and_leave_nothing(bench: Bench) -> None:
    calls = [bench.generate(request(f"req_{n}", 10 + n % 7)) for n in range(60)]
    got = await asyncio.gather(*(answers(call) for call in calls))
    assert [len(tokens(one)) for one in got] == [10 + n % 7 for n in range(60)]
    load = await bench.load()
    assert (load.kv_blocks_used, load.running_requests, load.queued_requests) == (0, 0, 0)
    assert load.kv_blocks_total > 0
    assert load.output_tokens == sum(10 + n % 7 for n in range(60))


async def test_grpc_status_of_a_wrong_field_is_invalid_argument(bench: Bench) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in bench.generate(request(n_output=0)):
            pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
