"""Events out of bytes, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.event_lines import EventLines

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
OTHERS = st.sampled_from([b": keep", b"id: 7", b"event: x", b"retry", b":"])
DATA = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Bytes of a stream, and the data of its events. The lines of one all end alike."""
    end = draw(ENDS)
    stream, told = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])), []
    for lines in draw(st.lists(st.lists(DATA, min_size=1, max_size=3), max_size=4)):
        for line in lines:
            if draw(st.booleans()):
                stream += draw(OTHERS) + end
            space = draw(st.sampled_from([b"", b" "]))
            stream += b"data:" + (b" " if line.startswith(" ") else space) + line.encode() + end
        stream += end
        told.append("\n".join(lines))
    return stream, told


@given(streams(), st.data())
def test_for_any_cut_the_same_data_comes_out(
    told: tuple[bytes, list[str]], data: st.DataObject
) -> None:
    stream, expected = told
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    lines, found = EventLines(1 << 16), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += lines.feed(stream[start:end])
    assert found == expected


def test_an_event_without_its_end_is_not_given() -> None:
    assert EventLines(64).feed(b"data: a\n\ndata: b\n") == ["a"]


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 70, b"data: x\n" * 12, b"data: \xff\n\n", b": " + b"x" * 70]
)
def test_what_is_too_long_or_no_text_is_refused(stream: bytes) -> None:
    with pytest.raises(BadAnswer):
        EventLines(64).feed(stream)
