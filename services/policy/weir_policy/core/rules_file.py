"""The rules file: YAML, refused whole with the line of the fault if anything in it is wrong.

rules:
  - {rule: email, action: redact, where: output}
  - {rule: keywords, action: block, where: both, keywords: [Project Nightjar]}
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import yaml

from weir_policy.core.detector import Detector
from weir_policy.core.detectors.keywords import KEYWORD_CHARS_MAX, Keywords
from weir_policy.core.detectors.keywords import NAME as KEYWORDS
from weir_policy.core.finding import Action, Where
from weir_policy.core.rules import DETECTORS, RULE_NAMES, Rule, RuleSet

FILE_CHARS_MAX = 16 * 1024 * 1024
RULES_MAX = 100
KEYWORDS_MAX = 100_000
ACTIONS = {action.value: action for action in Action}
PLACES = {"input": (Where.INPUT,), "output": (Where.OUTPUT,), "both": (Where.INPUT, Where.OUTPUT)}
FIELDS = ("rule", "action", "where", "keywords")
T = TypeVar("T")


class RulesFileError(ValueError):
    """The rules file is wrong: the message gives the line and what would be right."""


@dataclass(frozen=True)
class _Entry:
    """One item of the file."""

    line: int
    rule: str
    action: Action
    where: tuple[Where, ...]
    detectors: tuple[Detector, ...]


def read_rules(text: str) -> RuleSet:
    """The rules in the text of a rules file. Raises `RulesFileError`."""
    if len(text) > FILE_CHARS_MAX:
        raise RulesFileError(f"the file is longer than {FILE_CHARS_MAX} characters")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise RulesFileError(
            f"line {mark.line + 1 if mark else 1}: not YAML: {error.problem}"
        ) from error
    except yaml.YAMLError as error:  # a character that YAML forbids has no mark
        raise RulesFileError("line 1: not YAML: a character is not allowed") from error
    except RecursionError:
        raise RulesFileError("line 1: lists or mappings are nested too deep") from None
    if root is None:
        raise RulesFileError("line 1: the file is empty; expected `rules:` and a list")
    fields = _fields(root, ("rules",), "the file")
    if "rules" not in fields:
        raise _wrong(root, "expected `rules:` and a list")
    entries = [_entry(node) for node in _items(fields["rules"], RULES_MAX, "rules")]
    return RuleSet(input=_rules(entries, Where.INPUT), output=_rules(entries, Where.OUTPUT))


def _rules(entries: list[_Entry], where: Where) -> tuple[Rule, ...]:
    lines: dict[str, int] = {}
    rules: list[Rule] = []
    for entry in entries:
        if where not in entry.where:
            continue
        # Two keyword lists may have two actions; two entries for e-mail would be a contradiction.
        if entry.rule != KEYWORDS and entry.rule in lines:
            raise RulesFileError(
                f"line {entry.line}: `{entry.rule}` has a rule for {where.value} already, "
                f"in line {lines[entry.rule]}"
            )
        lines[entry.rule] = entry.line
        rules += [Rule(detector, entry.action) for detector in entry.detectors]
    return tuple(rules)


def _entry(node: yaml.Node) -> _Entry:
    fields = _fields(node, FIELDS, "a rule")
    for name in ("rule", "action", "where"):
        if name not in fields:
            raise _wrong(node, f"`{name}` is missing")
    rule = _one_of(fields["rule"], {name: name for name in RULE_NAMES})
    if rule == KEYWORDS and KEYWORDS not in fields:
        raise _wrong(node, "`keywords` is missing: the list of words to look for")
    if rule != KEYWORDS and KEYWORDS in fields:
        raise _wrong(fields[KEYWORDS], "only the rule `keywords` has a list of keywords")
    makers: tuple[Callable[[], Detector], ...] = DETECTORS.get(rule, ())
    detectors = tuple(make() for make in makers)
    if rule == KEYWORDS:
        words = [_keyword(item) for item in _items(fields[KEYWORDS], KEYWORDS_MAX, "keywords")]
        detectors = (Keywords(words),)
    return _Entry(
        node.start_mark.line + 1,
        rule,
        _one_of(fields["action"], ACTIONS),
        _one_of(fields["where"], PLACES),
        detectors,
    )


def _keyword(node: yaml.Node) -> str:
    word = _text(node).strip()
    if not 0 < len(word) <= KEYWORD_CHARS_MAX:
        raise _wrong(node, f"a keyword has 1 to {KEYWORD_CHARS_MAX} characters")
    return word


def _fields(node: yaml.Node, known: Collection[str], what: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, f"{what} is a mapping with {_listed(known)}")
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(key)
        if name not in known:
            raise _wrong(key, f"`{name}` is not known here; expected {_listed(known)}")
        if name in fields:
            raise _wrong(key, f"`{name}` is given twice")
        fields[name] = value
    return fields


def _items(node: yaml.Node, items_max: int, what: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(node, f"`{what}` is a list")
    if len(node.value) > items_max:
        raise _wrong(node, f"`{what}` has more than {items_max} items")
    return list(node.value)


def _one_of(node: yaml.Node, known: dict[str, T]) -> T:
    name = _text(node)
    if name not in known:
        raise _wrong(node, f"`{name}` is not known; expected {_listed(known)}")
    return known[name]


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, "expected a word here")
    return str(node.value)


def _wrong(node: yaml.Node, message: str) -> RulesFileError:
    return RulesFileError(f"line {node.start_mark.line + 1}: {message}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
