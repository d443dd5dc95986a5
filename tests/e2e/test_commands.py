"""The commands of `weir`, against the running stack."""

from pathlib import Path
from typing import Any

import pytest

DEMO_KEYS = {
    *("text", "usage", "cost_nanos", "currency", "ledger_sum_nanos", "ledger_entries"),
    *("findings", "trace", "openai", "rss_mb"),
}


def test_demo_shows_one_request_end_to_end(stack: Any) -> None:
    found = stack.weir_json("demo")
    assert set(found) == DEMO_KEYS
    assert found["text"] and found["currency"] == "USD" and found["ledger_sum_nanos"] == 0
    usage = found["usage"]
    assert found["cost_nanos"] == usage["input_tokens"] * 500 + usage["output_tokens"] * 1500
    kinds = [entry["kind"] for entry in found["ledger_entries"]]
    assert {"hold", "settle"} <= set(kinds)
    assert sum(entry["amount_nanos"] for entry in found["ledger_entries"]) == 0
    assert found["openai"]["usage"]["completion_tokens"] > 0
    assert 50 < found["rss_mb"] < 4000
    assert all(
        set(span) == {"service", "name", "parent", "start_ms", "duration_ms"}
        for span in found["trace"]
    )
    names = {span["name"] for span in found["trace"]}
    assert all(span["parent"] is None or span["parent"] in names for span in found["trace"])
    assert {span["service"] for span in found["trace"]} == {
        *("gateway", "policy", "tokenizer", "billing", "inference"),
    }


def test_demo_for_people_has_the_text_the_ledger_and_a_waterfall(stack: Any) -> None:
    done = stack.weir("demo")
    assert done.returncode == 0, done.stderr
    for part in ("tokens", "cost", "findings", "ledger", "Reserve", "prefill", "█", "OpenAI API"):
        assert part in done.stdout


def test_chat_answers_a_prompt_and_says_what_it_cost(stack: Any) -> None:
    answer = stack.weir_json("chat", "The cat sat", "--max-tokens", "8")
    assert answer["usage"]["output_tokens"] <= 8
    assert answer["cost_nanos"] > 0 and answer["request_id"].startswith("req_")
    shown = stack.weir("chat", "The cat sat", "--max-tokens", "8")
    assert shown.returncode == 0 and shown.stdout.strip()
    assert "USD" in shown.stderr


def test_models_lists_what_is_loaded(stack: Any) -> None:
    models = {model["name"]: model for model in stack.weir_json("models")}
    tasks = {model["task"] for model in models.values()}
    assert tasks >= {"generation", "text-classification", "image-classification", "recommendation"}
    model = models[stack.model]
    assert model["engine"] == "torch"
    assert model["parameters"] > 0 and model["context_tokens"] > 0
    assert (model["dtype"], model["quantization"]) == ("bf16", "")


def test_doctor_finds_everything_well(stack: Any) -> None:
    found = stack.weir_json("doctor")
    running = found["stack"]
    assert running["ok"]
    assert all(running["health"].values()) and set(running["health"]) == {
        *("gateway", "policy", "tokenizer", "billing", "inference"),
    }
    assert {"weir up", "postgres", "redis", "inference"} <= {
        p["name"] for p in running["processes"]
    }
    assert running["rss_mb"] == pytest.approx(sum(p["rss_mb"] for p in running["processes"]), abs=1)
    assert running["audit"]["ok"] and running["audit"]["records"] > 0
    shown = stack.weir("doctor")
    assert shown.returncode == 0
    assert "total" in shown.stdout and "the chain holds" in shown.stdout


def test_the_statement_of_a_request_shows_both_sides_of_every_transfer(stack: Any) -> None:
    answer = stack.weir_json("chat", "Hello", "--max-tokens", "4")
    entries = stack.weir_json("billing", "statement", "--request-id", answer["request_id"])
    assert {entry["request_id"] for entry in entries} == {answer["request_id"]}
    assert sum(entry["amount_nanos"] for entry in entries) == 0
    revenue = [e["amount_nanos"] for e in entries if e["account"] == f"revenue:{stack.model}"]
    assert revenue == [answer["cost_nanos"]]
    assert "demo" in stack.weir("billing", "statement").stdout
    assert "the ledger is right" in stack.weir("billing", "verify").stdout


def test_a_new_tenant_has_keys_credit_and_answers(stack: Any) -> None:
    made = stack.weir_json("tenants", "create", "acme")
    assert made == {"tenant_id": "acme", "project_id": "default", "currency": "USD"}
    assert stack.weir_json("tenants", "create", "acme") == made  # again is fine
    listed = {tenant["tenant_id"] for tenant in stack.weir_json("tenants", "list")}
    assert {"demo", "acme"} <= listed
    api_key = stack.weir_json("keys", "create", "--tenant", "acme")["api_key"]
    stack.weir_json("billing", "credit", "1", "--tenant", "acme")
    answer = stack.openai(api_key).chat.completions.create(**stack.body("A fox.", max_tokens=4))
    balance = stack.weir_json("billing", "balance", "--tenant", "acme")
    assert balance["credit_nanos"] == 10**9 - answer.model_extra["weir"]["cost_nanos"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trace", "req_unknown"), "no trace of req_unknown"),
        (("billing", "balance", "--tenant", "nobody"), "the tenant has no account"),
        (("billing", "credit", "ten"), "'ten' is no amount"),
        (("keys", "revoke", "key_unknown"), "key"),
        (("chat", "x", "--model", "gpt-4o"), "gpt-4o"),
        (("up", "--http-port", "0"), "a stack runs already in"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    stack: Any, arguments: tuple[str, ...], said: str
) -> None:
    done = stack.weir(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr and done.stderr.startswith("weir: ")
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_named_with_its_option(stack: Any, new_home: Path) -> None:
    port = stack.http_url.rsplit(":", 1)[1]
    stack.environment = {**stack.environment, "WEIR_HOME": str(new_home)}
    try:
        done = stack.weir("up", "--http-port", port, "--grpc-port", "0", "--model", "a/model")
    finally:
        stack.environment = {**stack.environment, "WEIR_HOME": str(stack.home.folder)}
    assert done.returncode == 1
    assert f"port {port} is taken; choose another with --http-port" in done.stderr
