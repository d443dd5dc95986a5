"""Tables on a screen of 80 columns show what matters, on a wide one everything."""

from typing import Any

import pytest

from weir_cli import screen
from weir_contracts.billing.v1 import account_pb2
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.policy.v1 import tenant_pb2

KEY_ID = f"key_{'k' * 24}"
REQUEST_ID = f"req_{'r' * 24}"


@pytest.fixture(autouse=True)
def filled(stack: Any) -> None:
    key = tenant_pb2.Key(
        key_id=KEY_ID,
        prefix="weir_sk_ab12cd34",
        project_id="default",
        display_name="Demo key of `weir up`",
    )
    key.created_at.seconds = key.revoked_at.seconds = 1_795_000_000
    stack.policy.keys = [key]
    entry = account_pb2.Entry(
        kind="settle",
        account="tenant:demo:available",
        amount=Money(nanos=-104_500, currency_code="USD"),
        balance_after=Money(nanos=9_999_895_500, currency_code="USD"),
        request_id=REQUEST_ID,
        description="Charge for a request",
    )
    entry.created_at.seconds = 1_795_000_000
    stack.billing.entries = [entry]


@pytest.mark.parametrize(
    ("command", "kept", "dropped"),
    [
        (("keys", "list"), [KEY_ID, "all", "revoked"], ["weir_sk_ab12cd34", "no limit"]),
        (
            ("billing", "statement"),
            [REQUEST_ID, "tenant:demo:available", "-0.000104500 USD", "2026-11-18 11:06:40"],
            ["9.999895500", "Charge for"],
        ),
    ],
)
async def test_what_matters_stays_whole(
    stack: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    kept: list[str],
    dropped: list[str],
) -> None:
    narrow = (await stack.weir(*command)).out
    assert max(map(len, narrow.splitlines())) <= 80
    assert all(part in narrow for part in kept)
    assert not any(part in narrow for part in dropped)
    monkeypatch.setattr(screen.out, "width", 200)
    wide = (await stack.weir(*command)).out
    assert all(part in wide for part in (*kept, *dropped))
