"""Tokens get their texts, and the places of these in the output."""

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from weir_gateway.core.logprob import Scored
from weir_gateway.core.spelling import Spelling


def spelling(texts: dict[int, str]) -> Spelling:
    async def token_texts(ids: Collection[int]) -> dict[int, str]:
        return {token_id: texts[token_id] for token_id in ids}

    return Spelling(token_texts)


@given(st.lists(st.lists(st.sampled_from([" a", "ab", "b", " "]), max_size=4), max_size=6))
async def test_a_token_starts_where_the_last_one_ended(messages: list[list[str]]) -> None:
    ids = {text: place for place, text in enumerate((" a", "ab", "b", " "))}
    spell = spelling({place: text for text, place in ids.items()})
    text = ""
    for message in messages:
        spell.add(Scored(ids[token], -1.0) for token in message)
        told = await spell.spell("".join(message), len(message))
        assert [token.text for token in told] == message
        for token in told:
            assert token.start == len(text)
            text += token.text


async def test_tokens_that_are_not_in_the_text_as_they_are_do_not_displace_the_others() -> None:
    texts = {0: "<s>", 1: " Once", 2: "\ufffd", 3: " upon", 4: " a"}
    spell = spelling(texts)
    spell.add(Scored(token_id, -1.0) for token_id in (0, 1, 2, 2, 3))
    told = await spell.spell("Once😀 upon", 5)
    assert [token.start for token in told] == [0, 0, 4, 4, 5]
    spell.add([Scored(4, -1.0, ((3, -2.0),))])
    assert await spell.spell("", 0) == ()
    [last] = await spell.spell(" a", 1)
    assert (last.start, last.top) == (10, ((" upon", -2.0),))


async def test_a_token_waits_until_all_its_text_is_out() -> None:
    spell = spelling({0: "one", 1: " two"})
    spell.add([Scored(0, -1.0), Scored(1, -1.0)])
    assert [t.start for t in await spell.spell("one t", 1)] == [0]
    assert [t.start for t in await spell.spell("wo", 1)] == [3]


async def test_tokens_without_scores_are_passed_over() -> None:
    spell = spelling({})
    assert await spell.spell("once", 4) == ()
