"""Weir behind Weir: a model that another stack serves, by the engine `openai`."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weir_contracts.policy.v1 import audit_pb2, audit_pb2_grpc

TALES = Path(__file__).parents[2] / "services" / "inference" / "models" / "weir-tales"
PROMPT = "Once upon a time there was a little boat."


def chained_model(stack: Any, folder: Path) -> tuple[Path, Path]:
    """A model's folder whose upstream is the stack, and the folder of keys."""
    model, keys = folder / "chained", folder / "keys"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TALES / name, model)
    upstream = f"{{url: '{stack.http_url}/v1', model: {stack.model}, api_key_file: key, "
    upstream += "context_tokens: 512}"
    lines = ["task: generation", "engine: openai", "tokenizer: tokenizer.json"]
    (model / "model.yaml").write_text("\n".join([*lines, f"upstream: {upstream}"]) + "\n")
    host = keys / str(urlsplit(stack.http_url).hostname)
    host.mkdir(parents=True)
    (host / "key").write_text(stack.api_key)
    return model, keys


async def records_of(stack: Any, trace_id: str) -> list[audit_pb2.AuditRecord]:
    async with stack.admin() as operator:
        stub = audit_pb2_grpc.AuditServiceStub(operator.channel("policy"))
        listed = await stub.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(page_size=100))
    return [one for one in listed.records if one.record.trace_id == trace_id]


async def test_a_stack_behind_a_stack_gives_the_same_text_one_trace_and_two_bills(
    stack: Any, started: Any, new_home: Path, tmp_path: Path, until: Any
) -> None:
    model, keys = chained_model(stack, tmp_path)
    environment = {
        "WEIR_INFERENCE_UPSTREAM_PRIVATE": "on",
        "WEIR_INFERENCE_UPSTREAM_KEYS": str(keys),
    }
    with started(new_home, "--model", str(model), **environment) as front:
        body = front.body(PROMPT, temperature=0)
        theirs = stack.openai().chat.completions.create(**{**body, "model": stack.model})
        ours = front.openai().chat.completions.create(**body)
        assert ours.choices[0].message.content == theirs.choices[0].message.content
        assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
        record = await until(lambda: front.audit_record(ours.id), "the audit record in front")
        trace_id = record.record.trace_id
        behind = await until(lambda: records_of(stack, trace_id), "the audit record behind")
        assert len(behind) == 1
        for one, usage in ((record, ours.usage), (behind[0], theirs.usage)):
            assert one.record.usage.input_tokens == usage.prompt_tokens
            assert one.record.usage.output_tokens == usage.completion_tokens
        assert record.record.charged.nanos == await front.charge_of(ours.id) > 0
        request_id = behind[0].record.request_id
        assert behind[0].record.charged.nanos == await stack.charge_of(request_id) > 0
        assert front.weir_json("billing", "verify")["ok"]
