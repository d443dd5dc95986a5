"""Why a token was chosen, by the command line."""

from typing import Any

import pytest

PROMPT = "Once upon a time, there was a little river."
# A prompt computed at once in fp32 and one computed step by step in bf16 differ in the last bits.
LOGPROB_TOLERANCE = 0.15


def test_the_last_token_is_attributed_to_all_before_it(stack: Any) -> None:
    body = stack.body(PROMPT, temperature=0, max_tokens=6, logprobs=True)
    answer = stack.openai().chat.completions.create(**body)
    found = stack.weir_json("explain", PROMPT, "--max-tokens", "6")
    written = answer.choices[0].logprobs.content
    assert (found["model"], found["method"]) == (stack.model, "gradient")
    assert found["text"] == answer.choices[0].message.content
    token = found["token"]
    assert (token["number"], token["text"]) == (len(written) - 1, written[-1].token)
    assert token["logprob"] == pytest.approx(written[-1].logprob, abs=LOGPROB_TOLERANCE)
    places = [one["where"] for one in found["attributions"]]
    n_prompt = answer.usage.prompt_tokens
    assert places == ["prompt"] * n_prompt + ["output"] * (len(written) - 1)
    before = "".join(one["text"] for one in found["attributions"])
    assert PROMPT in before
    assert before.endswith(answer.choices[0].message.content.removesuffix(token["text"]))
    assert any(one["attribution"] for one in found["attributions"])
    assert found["cost_nanos"] == answer.model_extra["weir"]["cost_nanos"]


def test_any_token_is_explained_by_either_method(stack: Any) -> None:
    ask = ("explain", PROMPT, "--max-tokens", "6")
    first, third = (stack.weir_json(*ask, "--token", number) for number in ("0", "2"))
    assert first["token"]["number"] == 0 and third["token"]["number"] == 2
    assert len(third["attributions"]) == len(first["attributions"]) + 2
    integrated = stack.weir_json(*ask, "--token", "2", "--method", "integrated")
    assert integrated["token"] == {
        **third["token"],
        "logprob": pytest.approx(third["token"]["logprob"], abs=1e-3),
    }
    assert integrated["attributions"] != third["attributions"]


def test_people_see_the_tokens_with_bars(stack: Any) -> None:
    done = stack.weir("explain", PROMPT, "--max-tokens", "6")
    assert done.returncode == 0, done.stderr
    for part in ("probability", "attribution", "prompt", "output", "' river'", "█"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PROMPT, "--model", "gpt-4o"), "there is no model 'gpt-4o'; served: "),
        ((PROMPT, "--max-tokens", "4", "--token", "4"), "has 4 tokens: --token is from 0 to 3"),
        (("Pay by 4111 1111 1111 1111.",), "changed what the model read or wrote"),
    ],
)
def test_what_cannot_be_explained_is_one_clear_line(
    stack: Any, arguments: tuple[str, ...], said: str
) -> None:
    done = stack.weir("explain", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
