"""Page tokens hold their place and their filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_billing.core.statement import before_entry_id, page_token
from weir_kit.errors import InvalidArgument


@given(st.integers(1, 10**17), st.sampled_from(["", "a"]), st.sampled_from(["", "r:1"]))
def test_a_token_leads_back_to_its_place(entry_id: int, tenant: str, request: str) -> None:
    assert before_entry_id(page_token(tenant, request, entry_id), tenant, request) == entry_id


def test_no_token_is_the_first_page() -> None:
    assert before_entry_id("", "a", "") is None


@given(st.text(max_size=40))
def test_any_other_text_is_refused(token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument) as caught:
            before_entry_id(token, "nobody", "")
        assert caught.value.field == "page_token"


def test_a_token_of_other_filters_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        before_entry_id(page_token("a", "", 7), "b", "")
