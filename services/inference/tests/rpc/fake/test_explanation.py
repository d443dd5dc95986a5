"""Explain checks what is asked, and how much at once."""

import asyncio
from typing import Any

import pytest

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_inference.core.explanation import AttributionMethod
from weir_kit.errors import ContextLengthExceeded, InvalidArgument, ModelNotFound, QueueFull
from weir_kit.status import raising_weir_errors

FakeBench = Any


async def explain(bench: FakeBench, **fields: Any) -> pb.ExplainResponse:
    usual = {"model": "base", "prompt_token_ids": [3, 4], "output_token_ids": [5, 6]}
    with raising_weir_errors():
        return await bench.explanations.Explain(pb.ExplainRequest(**(usual | fields)), timeout=10)


async def test_a_token_is_attributed_to_all_before_it(fake: FakeBench) -> None:
    fake.engine.may_explain.set()
    answer = await explain(fake)
    assert answer.logprob == -0.5
    assert list(answer.attributions) == [0, 1, 2]
    method = pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS
    await explain(fake, method=method, steps=256)
    first, second = fake.engine.explained
    assert (first.method, first.steps) == (AttributionMethod.GRADIENT_X_INPUT, 32)
    assert (second.method, second.steps) == (AttributionMethod.INTEGRATED_GRADIENTS, 256)
    assert second.output_token_ids == (5, 6)


async def test_an_adapters_name_explains_with_the_adapter(fake: FakeBench) -> None:
    fake.engine.may_explain.set()
    request = pb.LoadAdapterRequest(name="tuned", base_model="base", source="/a")
    await fake.models.LoadAdapter(request, timeout=10)
    await explain(fake, model="tuned")
    assert fake.engine.explained[0].adapter == "tuned"


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"model": "elsewhere"}, ModelNotFound, "model"),
        ({"prompt_token_ids": []}, InvalidArgument, "prompt_token_ids"),
        ({"prompt_token_ids": [50]}, InvalidArgument, "prompt_token_ids"),
        ({"output_token_ids": []}, InvalidArgument, "output_token_ids"),
        ({"output_token_ids": [50]}, InvalidArgument, "output_token_ids"),
        ({"output_token_ids": [3] * 63}, ContextLengthExceeded, "output_token_ids"),
        ({"steps": 257}, InvalidArgument, "steps"),
        ({"steps": -1}, InvalidArgument, "steps"),
        ({"method": 9}, InvalidArgument, "method"),
    ],
)
async def test_a_bad_field_is_named(
    fake: FakeBench, fields: dict[str, Any], error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as refused:
        await explain(fake, **fields)
    assert refused.value.field == field  # type: ignore[attr-defined]
    assert fake.engine.explained == []


async def test_a_third_explanation_at_once_is_told_to_come_back(fake: FakeBench) -> None:
    under_way = [asyncio.create_task(explain(fake)) for _ in range(2)]
    async with asyncio.timeout(10):
        while len(fake.engine.explained) < 2:
            await asyncio.sleep(0)
    with pytest.raises(QueueFull) as refused:
        await explain(fake)
    assert refused.value.retry_after_s == 1
    fake.engine.may_explain.set()
    await asyncio.gather(*under_way)
    await explain(fake)
