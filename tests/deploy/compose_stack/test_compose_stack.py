"""What docker-compose.yml starts carries a request from HTTP to the ledger and the trace."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import psycopg
import pytest

from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc
from weir_contracts.policy.v1 import audit_pb2, audit_pb2_grpc

REQUEST = {
    "model": "weir-tales",
    "prompt": "Once upon a time there was a little",
    "max_tokens": 24,
    "temperature": 0,
}
FIVE = {"gateway", "tokenizer", "inference", "policy", "billing"}
EXPORT_S_MAX = 30  # spans leave in batches, every five seconds


@pytest.fixture(scope="module")
def http_url(addresses: dict[str, str], environments: dict[str, dict[str, str]]) -> str:
    assert set(addresses) == FIVE
    return f"http://{environments['gateway']['WEIR_HTTP_LISTEN']}"


@pytest.fixture(scope="module")
def client(http_url: str, api_key: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=http_url, headers=headers, timeout=60) as client:
        yield client


def test_a_request_is_answered(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json=REQUEST)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["choices"][0]["text"].strip()
    assert 0 < body["usage"]["completion_tokens"] <= 24


def test_a_streamed_request_is_answered_to_the_end(client: httpx.Client) -> None:
    asked = REQUEST | {"stream": True, "stream_options": {"include_usage": True}}
    with client.stream("POST", "/v1/completions", json=asked) as answer:
        assert answer.status_code == 200
        data = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(one) for one in data[:-1]]
    assert "".join(one["choices"][0]["text"] for one in chunks if one["choices"]).strip()
    assert chunks[-1]["usage"]["prompt_tokens"] > 0


def test_the_python_of_the_readme_runs(root: Path, http_url: str, api_key: str) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    snippet = snippet.replace("http://127.0.0.1:8080", http_url).replace("weir_sk_…", api_key)
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_gateway_says_that_it_is_ready(http_url: str) -> None:
    assert httpx.get(f"{http_url}/healthz").status_code == 200
    assert httpx.get(f"{http_url}/readyz").status_code == 200


def test_a_wrong_key_is_refused(http_url: str) -> None:
    headers = {"authorization": "Bearer weir_sk_wrong"}
    answer = httpx.post(f"{http_url}/v1/completions", json=REQUEST, headers=headers)
    assert answer.status_code == 401, answer.text


def test_the_ledger_sums_to_zero_after_a_charge(
    client: httpx.Client, addresses: dict[str, str], service_token: list[tuple[str, str]]
) -> None:
    assert client.post("/v1/completions", json=REQUEST).status_code == 200
    with grpc.insecure_channel(addresses["billing"]) as channel:
        accounts = account_pb2_grpc.AccountServiceStub(channel)
        wanted = account_pb2.VerifyLedgerRequest()
        ledger = accounts.VerifyLedger(wanted, timeout=10, metadata=service_token)
        of_demo = account_pb2.GetBalanceRequest(tenant_id="demo")
        balance = accounts.GetBalance(of_demo, timeout=10, metadata=service_token).balance
    assert [money.nanos for money in ledger.sums] == [0]
    assert (ledger.unbalanced_transfers, ledger.wrong_balances) == (0, 0)
    assert 0 < balance.credit.nanos < 10_000_000_000


def test_the_audit_log_holds(
    client: httpx.Client, addresses: dict[str, str], service_token: list[tuple[str, str]]
) -> None:
    assert client.post("/v1/completions", json=REQUEST).status_code == 200
    with grpc.insecure_channel(addresses["policy"]) as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        wanted = audit_pb2.VerifyAuditLogRequest()
        log = audit.VerifyAuditLog(wanted, timeout=10, metadata=service_token)
    assert log.records > 0
    assert log.first_bad_sequence == 0


def test_a_second_first_key_is_another_key_without_more_credit(
    api_key: str,
    make_key: Callable[[], str],
    addresses: dict[str, str],
    service_token: list[tuple[str, str]],
) -> None:
    assert make_key() not in {"", api_key}
    with grpc.insecure_channel(addresses["billing"]) as channel:
        accounts = account_pb2_grpc.AccountServiceStub(channel)
        of_demo = account_pb2.GetBalanceRequest(tenant_id="demo")
        balance = accounts.GetBalance(of_demo, timeout=10, metadata=service_token).balance
    assert balance.credit.nanos <= 10_000_000_000


def test_one_trace_of_all_five_services_reaches_the_collector(
    client: httpx.Client, collector: tuple[str, list[tuple[str, str]]]
) -> None:
    assert client.post("/v1/completions", json=REQUEST).status_code == 200
    deadline = time.monotonic() + EXPORT_S_MAX
    services_of: dict[str, set[str]] = {}
    while FIVE not in services_of.values():
        assert time.monotonic() < deadline, services_of
        time.sleep(0.1)
        for service, trace_id in list(collector[1]):
            services_of.setdefault(trace_id, set()).add(service)


def test_a_database_role_needs_its_password_and_sees_only_its_own(
    environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", environments["policy"]["PGSERVICEFILE"])
    url = environments["policy"]["WEIR_POLICY_DATABASE_URL"]
    with psycopg.connect(url) as own:
        assert own.info.user == "weir_policy"
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url.replace("/weir_policy?", "/weir_billing?"))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace("&service=weir", ""))
