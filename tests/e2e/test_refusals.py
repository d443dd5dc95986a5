"""No credit, too many requests: what a tenant is told, and that nothing is charged."""

import uuid
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc
from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc

PROMPT = "The old king had three daughters."


@dataclass
class Customer:
    tenant: str
    api_key: str


async def a_customer(stack: Any, **key: Any) -> Customer:
    """A new tenant with an empty account and a key."""
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    async with stack.admin() as admin:
        tenants = tenant_pb2_grpc.TenantServiceStub(admin.channel("policy"))
        await tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=tenant))
        project = tenant_pb2.CreateProjectRequest(tenant_id=tenant, project_id="default")
        await tenants.CreateProject(project)
        request = tenant_pb2.CreateKeyRequest(tenant_id=tenant, project_id="default", **key)
        api_key = (await tenants.CreateKey(request)).api_key
        accounts = account_pb2_grpc.AccountServiceStub(admin.channel("billing"))
        await accounts.CreateAccount(account_pb2.CreateAccountRequest(tenant_id=tenant))
    return Customer(tenant, api_key)


async def test_without_credit_it_is_402_until_there_is_some(stack: Any) -> None:
    customer = await a_customer(stack)
    client = stack.openai(customer.api_key)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**stack.body(PROMPT))
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_quota"
    balance = stack.weir_json("billing", "credit", "0.01", "--tenant", customer.tenant)
    assert balance["available_nanos"] == 10_000_000
    answer = client.chat.completions.create(**stack.body(PROMPT))
    charged = answer.model_extra["weir"]["cost_nanos"]
    balance = stack.weir_json("billing", "balance", "--tenant", customer.tenant)
    assert balance["credit_nanos"] == 10_000_000 - charged and balance["held_nanos"] == 0


async def test_above_the_rate_it_is_429_with_retry_after(stack: Any) -> None:
    made = stack.weir_json("keys", "create", "slow", "--requests-per-minute", "1")
    client = stack.openai(made["api_key"])
    client.chat.completions.create(**stack.body(PROMPT, max_tokens=2))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**stack.body(PROMPT, max_tokens=2))
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


async def test_a_key_of_other_models_is_refused(stack: Any) -> None:
    made = stack.weir_json("keys", "create", "narrow", "--model", "another-model")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        stack.openai(made["api_key"]).chat.completions.create(**stack.body(PROMPT))
    assert caught.value.code == "model_not_allowed"


async def test_a_revoked_key_is_refused_at_once(stack: Any) -> None:
    made = stack.weir_json("keys", "create", "short-lived")
    client = stack.openai(made["api_key"])
    client.chat.completions.create(**stack.body(PROMPT, max_tokens=2))
    stack.weir_json("keys", "revoke", made["key_id"])
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**stack.body(PROMPT, max_tokens=2))
    listed = {key["key_id"]: key for key in stack.weir_json("keys", "list")}
    assert listed[made["key_id"]]["revoked_at_s"]
    assert made["api_key"] not in str(listed)


async def test_a_card_number_in_the_input_is_redacted_before_the_model_sees_it(stack: Any) -> None:
    prompt = "My card is 4111 1111 1111 1111, tell me a story."
    answer = stack.openai().chat.completions.create(**stack.body(prompt))
    findings = answer.model_extra["weir"]["findings"]
    assert [(one["rule"], one["where"]) for one in findings] == [("payment_card", "input")]
    assert prompt[findings[0]["start"] : findings[0]["end"]] == "4111 1111 1111 1111"
    redacted = await stack.count_tokens(prompt.replace("4111 1111 1111 1111", "[payment_card]"))
    assert answer.usage is not None and answer.usage.prompt_tokens == redacted
