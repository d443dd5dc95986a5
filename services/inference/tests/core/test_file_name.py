"""A name is the same file on every system and inside its folder, or it is refused."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.core.file_name import file_name_fault, same_file

PARTS = st.text(st.sampled_from("ab.. /\\:\n\x00é~-"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(PARTS)
def test_a_name_without_fault_stays_inside_on_every_system(name: str) -> None:
    if file_name_fault(name) is not None:
        return
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        assert not path.is_absolute()
        assert path.drive == ""
        assert path.as_posix() == name
        assert ".." not in path.parts


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/etc/passwd", "absolute"),
        ("../x.json", "outside"),
        ("a/../../x.json", "outside"),
        ("a\\b.json", "backslash"),
        ("C:/x.json", "colon"),
        ("a\nb.json", "control"),
        ("a//b.json", "empty"),
        ("", "empty"),
        ("a/./b.json", "empty"),
        ("x.json ", "space"),
        ("x.json.", "dot"),
        ("/".join("abcdefghi"), "deeper"),
        ("é" * 128, "longer"),
        ("\udcff.json", "control"),
    ],
)
def test_a_name_at_fault_is_told_why(name: str, told: str) -> None:
    assert told in str(file_name_fault(name))


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model.onnx_data", ".hidden", "模型.json"])
def test_usual_names_have_no_fault(name: str) -> None:
    assert file_name_fault(name) is None


def test_case_and_composition_do_not_make_another_file() -> None:
    assert same_file("Straße.JSON") == same_file("strasse.json")
    assert same_file("e\u0301.json") == same_file("\u00c9.json")
    assert same_file("a.json") != same_file("b.json")
