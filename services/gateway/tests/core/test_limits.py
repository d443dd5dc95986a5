"""Every field of a call is checked, and the message names it."""

from typing import Any

import pytest

from weir_gateway.core.call import Message
from weir_gateway.core.limits import check
from weir_gateway.core.sampling import Grammar, GrammarKind, Sampling
from weir_kit.errors import InvalidArgument

NAN = float("nan")
REGEX, CHOICES = GrammarKind.REGEX, GrammarKind.CHOICES


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("request_id", {"request_id": "with space"}),
        ("request_id", {"request_id": "x" * 65}),
        ("request_id", {"request_id": "-x"}),
        ("model", {"model": ""}),
        ("model", {"model": "m" * 257}),
        ("model", {"model": "a b"}),
        ("prompt", {"input": ""}),
        ("prompt", {"input": "x" * ((1 << 20) + 1)}),
        ("prompt", {"input": "ü" * ((1 << 19) + 1)}),
        ("messages", {"input": ()}),
        ("messages", {"input": (Message("user", "x"),) * 1025}),
        ("messages", {"input": (Message("user", "x" * (1 << 20)), Message("user", "y"))}),
        ("messages[1].role", {"input": (Message("user", "x"), Message("tool", "y"))}),
        ("max_output_tokens", {"max_output_tokens": 0}),
        ("max_output_tokens", {"max_output_tokens": 2**31}),
        ("temperature", {"sampling": Sampling(temperature=2.1)}),
        ("temperature", {"sampling": Sampling(temperature=NAN)}),
        ("top_p", {"sampling": Sampling(top_p=0.0)}),
        ("top_p", {"sampling": Sampling(top_p=NAN)}),
        ("top_k", {"sampling": Sampling(top_k=-1)}),
        ("seed", {"sampling": Sampling(seed=2**64)}),
        ("min_p", {"sampling": Sampling(min_p=1.1)}),
        ("min_p", {"sampling": Sampling(min_p=NAN)}),
        ("repetition_penalty", {"sampling": Sampling(repetition_penalty=0.0)}),
        ("repetition_penalty", {"sampling": Sampling(repetition_penalty=2.1)}),
        ("presence_penalty", {"sampling": Sampling(presence_penalty=-2.1)}),
        ("frequency_penalty", {"sampling": Sampling(frequency_penalty=NAN)}),
        ("logit_bias", {"sampling": Sampling(logit_bias=((1, 100.5),))}),
        ("logit_bias", {"sampling": Sampling(logit_bias=((2**32, 1.0),))}),
        ("logit_bias", {"sampling": Sampling(logit_bias=((1, 1.0),) * 1025)}),
        ("stop_token_ids", {"sampling": Sampling(stop_token_ids=(-1,))}),
        ("stop_token_ids", {"sampling": Sampling(stop_token_ids=(1,) * 65)}),
        ("grammar", {"sampling": Sampling(grammar=Grammar(REGEX, ("",)))}),
        ("grammar", {"sampling": Sampling(grammar=Grammar(REGEX, ("a", "b")))}),
        ("grammar", {"sampling": Sampling(grammar=Grammar(REGEX, ("x" * ((1 << 16) + 1),)))}),
        ("grammar", {"sampling": Sampling(grammar=Grammar(CHOICES, ()))}),
        ("grammar", {"sampling": Sampling(grammar=Grammar(CHOICES, ("a",) * 1025))}),
        ("n", {"n": 0}),
        ("n", {"n": 17}),
        ("top_logprobs", {"top_logprobs": -1}),
        ("top_logprobs", {"top_logprobs": 21}),
        ("echo", {"echo": True}),
        ("max_output_tokens", {"max_output_tokens": 0, "input": "x", "echo": True, "n": 2}),
        ("stop", {"stop": ("x",) * 17}),
        ("stop", {"stop": ("",)}),
        ("stop", {"stop": ("x" * 257,)}),
    ],
)
def test_a_wrong_field_is_named(world: Any, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=field.split("[")[0]) as caught:
        check(world.call(**changes))
    assert caught.value.field == field


def test_the_edges_of_every_range_are_allowed(world: Any) -> None:
    check(
        world.call(
            sampling=Sampling(temperature=2, top_p=1, top_k=0, seed=2**64 - 1),
            max_output_tokens=1,
            stop=("x" * 256,) * 16,
            input=(Message("system", ""), Message("assistant", "x")),
        )
    )
    check(world.call(sampling=Sampling(temperature=0.0, min_p=0, presence_penalty=-2)))
    check(world.call(input="x", echo=True, max_output_tokens=0, top_logprobs=20))
    check(
        world.call(
            n=16,
            top_logprobs=0,
            sampling=Sampling(
                repetition_penalty=2,
                logit_bias=((0, -100.0), (2**32 - 1, 100.0)),
                stop_token_ids=(0, 2**32 - 1),
                grammar=Grammar(CHOICES, ("a", "b")),
            ),
        )
    )
