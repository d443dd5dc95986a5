"""Pages: sizes are bounded, tokens fit only their list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_kit.errors import InvalidArgument
from weir_policy.core.paging import PAGE_SIZE_MAX, make_page, read_page


@given(
    items=st.lists(st.text(min_size=1, max_size=20), max_size=30, unique=True),
    size=st.integers(1, 9),
)
def test_pages_one_after_the_other_give_every_item_once(items: list[str], size: int) -> None:
    items.sort()
    seen: list[str] = []
    token = ""
    while True:
        request = read_page(size, token, "list")
        rest = [item for item in items if item > request.after]
        page = make_page(rest[: request.size + 1], request, "list", lambda item: item)
        seen += page.items
        token = page.next_page_token
        if not token:
            break
    assert seen == items


def test_sizes_have_a_default_and_a_most() -> None:
    assert read_page(0, "", "list").size == 100
    assert read_page(10**6, "", "list").size == PAGE_SIZE_MAX


@pytest.mark.parametrize("token", ["x", "====", "a" * 300, "AAAAAAAAAAAAAAAA", "é"])
def test_a_token_that_was_never_given_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as fault:
        read_page(0, token, "list")
    assert fault.value.field == "page_token"


def test_a_token_of_another_list_and_a_negative_size_are_refused() -> None:
    token = make_page(["a", "b"], read_page(1, "", "one"), "one", str).next_page_token
    assert read_page(1, token, "one").after == "a"
    with pytest.raises(InvalidArgument):
        read_page(1, token, "two")
    with pytest.raises(InvalidArgument):
        read_page(-1, "", "one")
