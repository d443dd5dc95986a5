"""API keys: their form, their digests, and one refusal for every reason."""

import random
from dataclasses import replace

import pytest

from weir_kit.errors import InvalidApiKey
from weir_policy.core.keys import Key, KeyHasher, new_api_key, prefix_of
from weir_policy.core.principal import Principal

HASHER = KeyHasher(b"pepper")
API_KEY = new_api_key(random.Random(1).choice)
PRINCIPAL = Principal("acme", "web", "key_1")
KEY = Key(PRINCIPAL, prefix_of(API_KEY), HASHER.digest(API_KEY), "", (), 0, 1.0, None, None)


def test_a_new_key_has_the_published_form() -> None:
    assert API_KEY.startswith("weir_sk_")
    assert len(API_KEY) == len("weir_sk_") + 8 + 32
    assert prefix_of(API_KEY) == API_KEY[:16]
    assert new_api_key() != new_api_key()


def test_the_right_key_is_accepted() -> None:
    assert HASHER.check(API_KEY, KEY, now_s=2.0) is KEY


def test_every_refusal_says_the_same() -> None:
    other = API_KEY[:-1] + ("a" if API_KEY[-1] != "a" else "b")
    reasons = [
        (other, KEY),
        (API_KEY, None),
        (API_KEY, replace(KEY, revoked_at_s=1.5)),
        (API_KEY, replace(KEY, expires_at_s=2.0)),
    ]
    messages = set()
    for api_key, key in reasons:
        with pytest.raises(InvalidApiKey) as refusal:
            HASHER.check(api_key, key, now_s=2.0)
        messages.add(refusal.value.message)
    for text in ("", "sk-123", API_KEY + "x", API_KEY.upper(), "weir_sk_", API_KEY + "\n"):
        with pytest.raises(InvalidApiKey) as refusal:
            prefix_of(text)
        messages.add(refusal.value.message)
    assert len(messages) == 1


def test_another_pepper_opens_nothing() -> None:
    with pytest.raises(InvalidApiKey):
        KeyHasher(b"other").check(API_KEY, KEY, now_s=2.0)


def test_a_key_expires_at_its_moment_and_not_before() -> None:
    key = replace(KEY, expires_at_s=10.0)
    assert key.is_good(9.999)
    assert not key.is_good(10.0)


def test_neither_digest_nor_key_show_in_a_repr() -> None:
    assert "digest" not in repr(KEY)
