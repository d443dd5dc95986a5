"""Admission's way with several texts: each as if it were alone."""

import asyncio
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from weir_kit.admission import AdmissionSigner
from weir_kit.clock import ManualClock
from weir_policy.core.admit import Gate, Input, Message, Question, Texts, Yes
from weir_policy.core.gcra import Verdict
from weir_policy.core.keys import Key, KeyHasher, new_api_key, prefix_of
from weir_policy.core.principal import Principal
from weir_policy.core.rules_file import read_rules

HASHER = KeyHasher(b"pepper")
API_KEY = new_api_key(random.Random(1).choice)
PRINCIPAL = Principal("acme", "web", "key_1")
KEY = Key(PRINCIPAL, prefix_of(API_KEY), HASHER.digest(API_KEY), "", (), 0, 1.0, None, None)
RULES = """
rules:
  - {rule: email, action: redact, where: input}
  - {rule: payment_card, action: redact, where: input}
"""
# Parts of what rules look for: put together they match, in texts of their own they must not.
PARTS = st.lists(st.sampled_from(["ann", "@", "x.org", "4111 1111 ", "1111 1111", " ", "😀", "\n"]))
TEXTS = st.lists(PARTS.map("".join), min_size=1, max_size=8)


class OneKey:
    """Knows `KEY` and no other."""

    async def by_prefix(self, prefix: str) -> Key | None:
        return KEY if prefix == KEY.prefix else None


class NoLimiter:
    """`KEY` has no limit."""

    async def take(self, key_id: str, requests_per_minute: int) -> Verdict:
        raise AssertionError


def gate() -> Gate:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    signer = AdmissionSigner(pem)
    return Gate(
        OneKey(),
        NoLimiter(),
        read_rules(RULES).input,
        hasher=HASHER,
        signer=signer,
        ttl_s=60.0,
        clock=ManualClock(),
    )


async def admitted(asked: Input) -> Yes:
    return await gate().admit(Question("req_1", API_KEY, "eyes", asked))


@given(TEXTS)
def test_several_texts_are_answered_as_each_is_alone_and_as_messages_are(texts: list[str]) -> None:
    async def ask() -> tuple[list[Yes], Yes, Yes]:
        alone = [await admitted(text) for text in texts]
        messages = tuple(Message("user", text) for text in texts)
        return alone, await admitted(Texts(tuple(texts))), await admitted(messages)

    alone, several, chat = asyncio.run(ask())
    left, findings, start = [], [], 0
    for text, yes in zip(texts, alone, strict=True):
        left.append(text if yes.redacted is None else yes.redacted)
        findings += [finding.moved(start) for finding in yes.findings]
        start += len(text) + 1  # a newline joins them
    assert several.redacted == (Texts(tuple(left)) if left != texts else None)
    assert list(several.findings) == list(chat.findings) == findings


async def test_many_short_texts_do_not_stop_other_requests() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    assert (await admitted(Texts(()))).redacted is None
    await admitted(Texts(("a fox ran",) * 1024))
    other.cancel()
    assert turns >= 1024
