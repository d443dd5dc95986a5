"""Chat templates: the names they find, and what they may not do."""

import pytest

from weir_kit.clock import ManualClock
from weir_kit.errors import InvalidArgument
from weir_tokenizer.adapters.chat_template import RENDERED_CHARACTERS_MAX, ChatTemplate

JULY_26_2024_S = 1_721_952_000.0
HELLO = [{"role": "user", "content": "<b>déjà</b>"}]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(
        source, {"bos_token": "<s>", "eos_token": "</s>"}, ManualClock(JULY_26_2024_S)
    )


def render(source: str, **variables: object) -> str:
    return template(source).render(HELLO, add_generation_prompt=True, variables=variables)


def complaint(source: str) -> str:
    with pytest.raises(InvalidArgument) as raised:
        render(source)
    assert raised.value.field == "chat"
    return raised.value.message


def test_a_template_finds_the_names_it_expects() -> None:
    source = "{{ bos_token }}{{ messages[0].content }}{{ add_generation_prompt }}{{ tools }}"
    assert render(source + "{{ documents }}") == "<s><b>déjà</b>TrueNoneNone"


def test_json_is_not_escaped_for_html_or_ascii() -> None:
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "<b>déjà</b>"}'
    assert render("{{ [1] | tojson(indent=1) }}") == "[\n 1\n]"


def test_today_is_what_the_clock_says() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"


def test_blocks_leave_no_blank_lines_and_loops_can_break() -> None:
    source = """
    {%- for n in range(9) %}
        {% if n == 2 %}
            {% break %}
        {% endif %}
{{ n }}
    {% endfor %}"""
    assert render(source) == "0\n1\n"


def test_a_generation_block_is_just_its_body() -> None:
    assert render("a{% generation %}b{{ bos_token }}{% endgeneration %}c") == "ab<s>c"


def test_a_namespace_carries_values_out_of_a_loop() -> None:
    source = (
        "{% set ns = namespace(n=0) %}{% for m in [1, 2] %}{% set ns.n = ns.n + m %}{% endfor %}"
    )
    assert render(source + "{{ ns.n }}") == "3"


def test_a_refusal_is_passed_on_in_the_templates_own_words() -> None:
    assert complaint("{{ raise_exception('Roles must alternate') }}") == (
        "the model's chat template refuses the conversation: Roles must alternate"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no: ' + messages[0].content) }}",
        "{{ messages[0].content.absent.absent }}",
    ],
)
def test_no_complaint_quotes_the_conversation(source: str) -> None:
    assert "déjà" not in complaint(source)


def test_a_failure_names_its_kind() -> None:
    assert complaint("{{ 1 // 0 }}").endswith("(ZeroDivisionError)")


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{%macro f(n)%}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(64) }}",
        "{% for a in range(10000000) %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
    ],
    ids=["nested loops", "macros", "range", "repetition", "repetition from the left", "power"],
)
def test_a_template_cannot_work_without_end(source: str) -> None:
    assert "SecurityError" in complaint(source) or "OverflowError" in complaint(source)


def test_a_budget_is_for_one_rendering() -> None:
    busy = template("{% for a in range(90000) %}{% endfor %}done")
    for _ in range(4):
        assert busy.render(HELLO, add_generation_prompt=True) == "done"


def test_a_rendering_has_a_greatest_length() -> None:
    long = "{% for a in range(1000) %}{{ 'x' * 90000 }}{% endfor %}"
    assert (
        complaint(long) == f"the rendered chat is longer than {RENDERED_CHARACTERS_MAX} characters"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ messages.append(1) }}",
        "{{ lipsum() }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ self.__init__.__globals__ }}",
    ],
)
def test_a_template_stays_in_its_sandbox(source: str) -> None:
    assert complaint(source)
