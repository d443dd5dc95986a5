"""Admission: key, model, rate and content, in this order; then a signed yes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from weir_kit.admission import Admission, AdmissionSigner
from weir_kit.clock import Clock
from weir_kit.errors import ContentBlocked, InvalidArgument, ModelNotAllowed, RateLimited
from weir_policy.core.finding import Finding, Where
from weir_policy.core.gcra import Verdict
from weir_policy.core.keys import Key, KeyHasher, prefix_of
from weir_policy.core.names import check_model, check_request_id
from weir_policy.core.principal import Principal
from weir_policy.core.rules import Rule
from weir_policy.core.screen import FINDINGS_MAX
from weir_policy.core.screening import Screening, joined

MESSAGES_MAX = 1024
TEXTS_MAX = 1025  # 1024 documents and a query
INPUT_CHARS_MAX = 1 << 20
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str = field(repr=False)


@dataclass(frozen=True)
class Texts:
    """Texts of one request that do not belong together, as those to classify; none in pictures."""

    texts: tuple[str, ...] = field(repr=False)


Input = str | tuple[Message, ...] | Texts


@dataclass(frozen=True)
class Question:
    """What is about to be done with which key. Without a model only the key is checked."""

    request_id: str
    api_key: str = field(repr=False)
    model: str
    input: Input | None = field(repr=False)


@dataclass(frozen=True)
class RateLimit:
    """A limit's state: requests per minute (0: none), how many are left, seconds until all are."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True)
class Yes:
    """The answer. `redacted` is the input, if a rule changed it."""

    principal: Principal
    allowed_models: tuple[str, ...]
    token: str = field(default="", repr=False)
    rate_limit: RateLimit | None = None
    findings: tuple[Finding, ...] = ()
    redacted: Input | None = field(default=None, repr=False)


class KeyLookup(Protocol):
    """Finds keys."""

    async def by_prefix(self, prefix: str) -> Key | None: ...


class Limiter(Protocol):
    """Counts requests."""

    async def take(self, key_id: str, requests_per_minute: int) -> Verdict:
        """Count one request, if it may pass. Raises `Unavailable` when it cannot know."""
        ...


class Gate:
    """Decides on requests before any work is done."""

    def __init__(
        self,
        keys: KeyLookup,
        limiter: Limiter,
        rules: Sequence[Rule],
        *,
        hasher: KeyHasher,
        signer: AdmissionSigner,
        ttl_s: float,
        clock: Clock,
    ) -> None:
        self._keys, self._limiter, self._rules = keys, limiter, rules
        self._hasher, self._signer, self._ttl_s, self._clock = hasher, signer, ttl_s, clock

    async def admit(self, question: Question) -> Yes:
        """The yes.

        Raises `InvalidApiKey`, `InvalidArgument`, `ModelNotAllowed`, `RateLimited`,
        `ContentBlocked`, and `Unavailable` when PostgreSQL or Redis is away.
        """
        key = await self._key(question.api_key)
        principal = key.principal
        if not question.model:
            return Yes(principal, key.allowed_models)
        _check(question)
        if not key.allows(question.model):
            raise ModelNotAllowed("this key may not use this model")
        rate_limit = await self._count(key)
        findings, redacted = await self._screen(question.input)
        admission = Admission(
            question.request_id,
            principal.tenant_id,
            principal.project_id,
            principal.key_id,
            question.model,
            expires_at_s=self._clock.now_s() + self._ttl_s,
        )
        token = self._signer.sign(admission)
        return Yes(principal, key.allowed_models, token, rate_limit, findings, redacted)

    async def _key(self, api_key: str) -> Key:
        # Asked for at every request and kept nowhere: a revoked key is refused from then on.
        key = await self._keys.by_prefix(prefix_of(api_key))
        return self._hasher.check(api_key, key, self._clock.now_s())

    async def _count(self, key: Key) -> RateLimit:
        limit = key.requests_per_minute
        if not limit:
            return RateLimit(0, 0, 0.0)
        verdict = await self._limiter.take(key.principal.key_id, limit)
        if not verdict.allowed:
            raise RateLimited(
                f"the key's limit of {limit} requests per minute is used up",
                retry_after_s=verdict.retry_after_us / 1e6,
            )
        return RateLimit(limit, verdict.remaining, verdict.reset_us / 1e6)

    async def _screen(self, asked: Input | None) -> tuple[tuple[Finding, ...], Input | None]:
        assert asked is not None, "checked before"
        findings, released = await self._screen_each(_texts_of(asked))
        redacted: Input
        if isinstance(asked, str):
            redacted = released[0]
        elif isinstance(asked, Texts):
            redacted = Texts(released)
        else:
            roles = (message.role for message in asked)
            redacted = tuple(map(Message, roles, released))
        return findings, redacted if redacted != asked else None

    async def _screen_each(
        self, texts: Sequence[str]
    ) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        """The findings in texts looked at one by one, and what is left of each."""
        found: tuple[Finding, ...] = ()
        left: list[str] = []
        start = 0
        for text in texts:
            # Many short texts are as much work as a long one: let other requests in between.
            await asyncio.sleep(0)
            findings, released = await self._screen_one(text, start)
            found = (*found, *findings)[:FINDINGS_MAX]
            left.append(released)
            start += len(text) + 1  # findings count in texts joined by a newline
        return found, tuple(left)

    async def _screen_one(self, text: str, start: int) -> tuple[tuple[Finding, ...], str]:
        """The findings in one text, `start` characters into the input, and what is left of it."""
        screening = Screening(self._rules, Where.INPUT)
        released = joined(await screening.push(text), screening.finish())
        if rule := released.blocked_by:
            raise ContentBlocked(f"the rule {rule} blocks this input", details={"rule": rule})
        return tuple(finding.moved(start) for finding in released.findings), released.text


def _check(question: Question) -> None:
    """Raise `InvalidArgument` for the first field that is wrong."""
    check_request_id(question.request_id)
    check_model(question.model, "model")
    if question.input is None:
        raise InvalidArgument("chat, text or texts must be set: rules look at it", field="input")
    if isinstance(question.input, str):
        if len(question.input) > INPUT_CHARS_MAX:
            raise InvalidArgument(
                f"text must have at most {INPUT_CHARS_MAX} characters", field="text"
            )
    elif isinstance(question.input, Texts):
        _check_all(question.input.texts, 0, TEXTS_MAX, "texts.texts", "texts")
    else:
        _check_all(_texts_of(question.input), 1, MESSAGES_MAX, "chat.messages", "messages")
        for place, message in enumerate(question.input):
            if message.role not in ROLES:
                name = f"chat.messages[{place}].role"
                raise InvalidArgument(f"{name} must be one of {', '.join(ROLES)}", field=name)


def _check_all(texts: Sequence[str], least: int, most: int, field: str, noun: str) -> None:
    if not least <= len(texts) <= most:
        raise InvalidArgument(f"{field} must have {least} to {most} {noun}", field=field)
    if sum(map(len, texts)) > INPUT_CHARS_MAX:
        raise InvalidArgument(
            f"{field} must have at most {INPUT_CHARS_MAX} characters together", field=field
        )


def _texts_of(asked: Input) -> tuple[str, ...]:
    """What rules look at, one by one."""
    if isinstance(asked, str):
        return (asked,)
    if isinstance(asked, Texts):
        return asked.texts
    return tuple(message.content for message in asked)
