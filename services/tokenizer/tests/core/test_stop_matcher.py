"""The stop matcher against a search of the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from weir_tokenizer.core.stop_matcher import StopMatcher

# Few letters, so that stop strings overlap, nest and nearly match.
TEXTS = st.text(alphabet="abé", max_size=40)
STOPS = st.lists(st.text(alphabet="abé", min_size=1, max_size=5), max_size=5)


def cut(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string that begins first, and it (the shorter of two)."""
    found = [(text.find(stop), len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    start, _, stop = min(found)
    return text[:start], stop


def longest_open_end(text: str, stops: list[str]) -> int:
    """Characters at the end of the text that may become a stop string."""
    sizes = range(min(len(text), max(map(len, stops), default=0)), 0, -1)
    return next(
        (n for n in sizes if any(s.startswith(text[-n:]) and s != text[-n:] for s in stops)), 0
    )


@given(text=TEXTS, stops=STOPS, data=st.data())
def test_any_chunks_give_what_a_search_of_the_whole_text_gives(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    matcher = StopMatcher(stops)
    given_out = ""
    rest = text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        given_out += matcher.push(rest[:size])
        rest = rest[size:]
    given_out += matcher.finish()

    assert (given_out, matcher.stop) == cut(text, stops)


@given(text=TEXTS, stops=STOPS)
def test_just_the_longest_end_that_may_become_a_stop_string_is_held(
    text: str, stops: list[str]
) -> None:
    before, stop = cut(text, stops)
    if stop is not None:
        text = before
    # Cut before the stop string: it may still leave a match in what was cut, so search anew.
    if cut(text, stops)[1] is not None:
        return
    matcher = StopMatcher(stops)

    assert len(matcher.push(text)) == len(text) - longest_open_end(text, stops)


def test_a_match_waits_for_one_that_may_begin_earlier() -> None:
    matcher = StopMatcher(["bc", "abcd"])
    assert (matcher.push("xabc"), matcher.stop) == ("x", None)
    assert (matcher.push("d"), matcher.stop) == ("", "abcd")


def test_a_match_that_waited_in_vain_cuts_where_it_began() -> None:
    matcher = StopMatcher(["bc", "abcd"])
    matcher.push("xabc")
    assert (matcher.push("e"), matcher.stop) == ("a", "bc")


def test_a_match_that_waited_counts_when_the_text_ends() -> None:
    matcher = StopMatcher(["bc", "abcd"])
    matcher.push("xabc")
    assert (matcher.finish(), matcher.stop) == ("a", "bc")


def test_nothing_follows_a_stop_string() -> None:
    matcher = StopMatcher(["\n\n"])
    assert matcher.push("one\n\ntwo") == "one"
    assert matcher.push("three") == ""
    assert matcher.finish() == ""


def test_without_stop_strings_all_text_passes_at_once() -> None:
    matcher = StopMatcher([])
    assert matcher.push("text") == "text"
    assert matcher.finish() == ""
