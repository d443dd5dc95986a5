"""Released tokens are those whose text has all been screened."""

from hypothesis import given
from hypothesis import strategies as st

from weir_gateway.core.checkpoints import Checkpoints


def test_a_token_is_released_with_its_last_character() -> None:
    checkpoints = Checkpoints()
    checkpoints.add("once", 1)
    checkpoints.add(" upon", 2)
    assert checkpoints.released_tokens(3) == 0
    assert checkpoints.released_tokens(4) == 1
    assert checkpoints.released_tokens(8) == 1
    assert checkpoints.released_tokens(9) == 2


def test_a_token_without_text_is_released_at_once() -> None:
    checkpoints = Checkpoints()
    checkpoints.add("", 1)
    assert checkpoints.released_tokens(0) == 1


def test_a_peer_that_counts_wrongly_releases_no_more_than_it_was_given() -> None:
    checkpoints = Checkpoints()
    checkpoints.add("once", 1)
    assert checkpoints.released_tokens(99) == 1
    checkpoints.add(" upon", 2)
    assert checkpoints.released_tokens(0) == 1


@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 3)), max_size=20), st.data())
def test_released_tokens_are_the_newest_checkpoint_that_is_screened(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    checkpoints, said, chars, tokens, screened = Checkpoints(), [(0, 0)], 0, 0, 0
    for text, new_tokens in steps:
        chars, tokens = chars + len(text), tokens + new_tokens
        said.append((chars, tokens))
        checkpoints.add(text, tokens)
        screened = data.draw(st.integers(screened, chars))
        expected = max(count for at, count in said if at <= screened)
        assert checkpoints.released_tokens(screened) == expected
