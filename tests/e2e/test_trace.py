"""Who calls whom: the edges of one request, from the real spans."""

from typing import Any

PROMPT = "A fox and a hen met at the well."

EDGES = {
    ("gateway", "policy", "weir.policy.v1.PolicyService/Admit"),
    ("gateway", "tokenizer", "weir.tokenizer.v1.TokenizerService/Encode"),
    ("gateway", "billing", "weir.billing.v1.BillingService/Reserve"),
    ("gateway", "inference", "weir.inference.v1.InferenceService/Generate"),
    ("gateway", "tokenizer", "weir.tokenizer.v1.TokenizerService/DecodeStream"),
    ("gateway", "policy", "weir.policy.v1.PolicyService/Screen"),
    ("gateway", "billing", "weir.billing.v1.BillingService/Settle"),
    ("gateway", "policy", "weir.policy.v1.PolicyService/Record"),
}
# What the gateway may also ask while it answers, when its list of models has aged.
OCCASIONAL = {
    ("gateway", "inference", "weir.inference.v1.ModelRepositoryService/ListModels"),
}


def trace_of(stack: Any, request_id: str) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = stack.weir_json("trace", request_id)
    return spans


def edges_of(spans: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(caller, callee, RPC) of every server span whose caller's client span is there."""
    by_id = {span["span_id"]: span for span in spans}
    return {
        (by_id[span["parent_span_id"]]["service"], span["service"], span["name"])
        for span in spans
        if span["kind"] == "server"
        and span["parent_span_id"] in by_id
        and by_id[span["parent_span_id"]]["kind"] == "client"
    }


async def test_one_request_is_one_trace_over_all_services(stack: Any) -> None:
    answer = stack.openai().chat.completions.create(**stack.body(PROMPT))
    spans = trace_of(stack, answer.id)
    assert edges_of(spans) - OCCASIONAL == EDGES
    assert {span["status"] for span in spans} == {"OK"}
    ids = {span["span_id"] for span in spans}
    roots = [span for span in spans if span["parent_span_id"] not in ids]
    assert [(root["service"], root["name"]) for root in roots] == [
        ("gateway", "POST /v1/chat/completions")
    ]


async def test_inference_shows_where_its_time_went(stack: Any) -> None:
    answer = stack.openai().chat.completions.create(**stack.body(PROMPT))
    spans = trace_of(stack, answer.id)
    generate = next(
        span
        for span in spans
        if span["kind"] == "server" and span["name"].endswith("InferenceService/Generate")
    )
    inside = {s["name"]: s for s in spans if s["parent_span_id"] == generate["span_id"]}
    assert {"queue", "prefill", "decode"} <= set(inside)
    for name in ("queue", "prefill", "decode"):
        assert inside[name]["service"] == "inference"
        assert inside[name]["start_ms"] >= generate["start_ms"] - 1
    assert inside["queue"]["start_ms"] <= inside["prefill"]["start_ms"]
    assert inside["prefill"]["start_ms"] <= inside["decode"]["start_ms"]


async def test_a_refused_request_goes_no_further_than_policy(stack: Any) -> None:
    async with stack.http("weir_sk_nobody") as http:
        answer = await http.post("/v1/chat/completions", json=stack.body(PROMPT))
    spans = trace_of(stack, answer.headers["x-request-id"])
    # Encoding works beside the decision; nothing that costs money comes before it.
    called = {(callee, name.rsplit("/", 1)[1]) for _, callee, name in edges_of(spans)}
    assert ("policy", "Admit") in called
    assert called <= {("policy", "Admit"), ("tokenizer", "Encode"), ("inference", "ListModels")}


async def test_a_clients_trace_goes_on_in_ours(stack: Any, until: Any) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with stack.http() as http:
        answer = await http.post(
            "/v1/chat/completions",
            json=stack.body(PROMPT),
            headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
        )
    request_id = answer.headers["x-request-id"]
    record = await until(lambda: stack.audit_record(request_id), "the audit record is written")
    assert record.record.trace_id == trace_id


async def test_spans_carry_no_content_and_no_keys(stack: Any) -> None:
    secret = "the hen named Balthazar"
    answer = stack.openai().chat.completions.create(**stack.body(secret))
    spans = str(trace_of(stack, answer.id))
    assert "Balthazar" not in spans and stack.api_key not in spans
    assert (answer.choices[0].message.content or "")[:20] not in spans
