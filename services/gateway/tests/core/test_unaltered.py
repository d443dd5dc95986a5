"""What is told of tokens never tells of text that did not go out as it was."""

from hypothesis import given
from hypothesis import strategies as st

from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.core.unaltered import Unaltered

WORDS = st.lists(st.text("ab@", min_size=0, max_size=3), max_size=12)


@given(WORDS, st.data())
def test_tokens_are_told_in_order_as_far_as_the_text_went_out_unchanged(
    words: list[str], data: st.DataObject
) -> None:
    unaltered = Unaltered()
    text, released, screened, told = "", "", 0, []
    for word in words:
        start, text = len(text), text + word
        unaltered.add(word, (TokenLogprob(word, -1.0, (), start),))
        upto = data.draw(st.integers(screened, len(text)))
        out, screened = text[screened:upto].replace("@", "*"), upto
        released += out
        told += unaltered.release(out, screened)
    same = next((n for n in range(len(released)) if released[n] != text[n]), len(released))
    assert [token.text for token in told] == words[: len(told)]
    assert sum(len(token.text) for token in told) <= same
    if "@" not in text[:screened]:
        # Each token whose text is out is told at the next release.
        ends = [sum(map(len, words[: n + 1])) for n in range(len(words))]
        assert len(told) == sum(end <= screened for end in ends)


def test_nothing_follows_what_was_replaced_or_withheld() -> None:
    unaltered = Unaltered()
    unaltered.add("my card", (TokenLogprob("my card", -1.0, (), 0),))
    assert unaltered.release("my [card]", 7) == ()
    unaltered.add(" is", (TokenLogprob(" is", -1.0, (), 7),))
    assert unaltered.release(" is", 10) == ()
