"""What the documents say of files, commands and rules is so."""

import ast
import re
from pathlib import Path

import pytest

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md"]


def paragraphs(text: str) -> list[str]:
    """The text's paragraphs and list items, however their lines are broken."""
    parts = re.split(r"\n\s*\n|\n\s*(?=- )", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(root: Path, document: str) -> None:
    text = (root / document).read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if ":" not in link]
    missing = [link for link in targets if not (root / document).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(root: Path, document: str) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = (root / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


def test_the_readme_publishes_the_charging_rule_of_the_code(root: Path) -> None:
    module = root / "services/gateway/weir_gateway/core/charge.py"
    (rule,) = (
        ast.get_docstring(node)
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "charged_usage"
    )
    published = paragraphs((root / "README.md").read_text(encoding="utf-8"))
    items = [one for one in paragraphs(rule or "") if one.startswith("- ")]
    assert len(items) == 3
    assert set(items) <= set(published)


def test_the_licence_is_apache_2(root: Path) -> None:
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    assert "limitations under the License." in text
