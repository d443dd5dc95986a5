"""Real vocabularies and chat templates, against outputs that others computed."""

import json
from pathlib import Path
from typing import Any

import pytest

from weir_kit.clock import ManualClock
from weir_kit.errors import InvalidArgument
from weir_tokenizer.adapters.chat_template import ChatTemplate
from weir_tokenizer.adapters.huggingface import load
from weir_tokenizer.core.text_stream import StreamOptions, TextStream

JULY_26_2024_S = 1_721_952_000.0
SEPARATOR = "\n__ggml_vocab_test__\n"
# These loop over `tools` unasked. The golden texts were made with the name undefined, which loops
# over nothing; the transformers library makes it None without tools, and so refuses, as we do.
NEED_TOOLS = {
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
}
NAMES_OF_RENDER = ("messages", "add_generation_prompt", "bos_token", "eos_token")


@pytest.mark.parametrize(
    ("folder", "golden"),
    [
        ("phi-3-mini", "llama-spm"),
        ("roberta-base", "roberta-bpe"),
        ("bert-base-uncased", "bert-bge"),
    ],
)
def test_ids_are_those_of_llama_cpp(assets: Path, folder: str, golden: str) -> None:
    texts = (assets / "tokenizers/ggml-vocab/ggml-vocab.inp").read_text("utf-8")
    outputs = (assets / f"tokenizers/ggml-vocab/ggml-vocab-{golden}.gguf.out").read_text("utf-8")
    tokenizer = load(folder, str(assets / "tokenizers" / folder), ManualClock())
    inputs = texts.split(SEPARATOR)[:-1]
    expected = [[int(part) for part in line.split()] for line in outputs.splitlines()]

    assert tokenizer.encode(inputs, add_special=False) == expected


@pytest.mark.parametrize("folder", ["phi-3-mini", "roberta-base", "bert-base-uncased", "t5-small"])
def test_real_vocabularies_stream_to_their_whole_decoding(assets: Path, folder: str) -> None:
    texts = (assets / "tokenizers/ggml-vocab/ggml-vocab.inp").read_text("utf-8")
    tokenizer = load(folder, str(assets / "tokenizers" / folder), ManualClock())
    for ids in tokenizer.encode(texts.split(SEPARATOR), add_special=True):
        stream = TextStream(tokenizer, StreamOptions())
        pieces = [*(stream.push([token_id]) for token_id in ids), stream.finish()]
        assert "".join(p.text for p in pieces) == tokenizer.decode(ids, keep_special=False)
        assert pieces[-1].decoded_tokens == len(ids)


def test_every_template_renders_as_the_transformers_library_renders_it(assets: Path) -> None:
    golden = json.loads((assets / "chat/golden_rendered.json").read_text("utf-8"))
    rendered, expected = {}, {}
    for case in golden["cases"]:
        source = (assets / "chat/templates" / case["template"]).read_text("utf-8")
        context = json.loads((assets / "chat/contexts" / case["context"]).read_text("utf-8"))
        key = (case["template"], case["context"])
        rendered[key] = render(source, context)
        without_tools = case["template"] in NEED_TOOLS and "tools" not in context
        expected[key] = None if without_tools else case.get("rendered")

    assert len(rendered) == 54
    assert rendered == expected


def render(source: str, context: dict[str, Any]) -> str | None:
    """The text, or None if the template refuses."""
    special = {name: context[name] for name in ("bos_token", "eos_token")}
    template = ChatTemplate(source, special, ManualClock(JULY_26_2024_S))
    try:
        return template.render(
            context["messages"],
            add_generation_prompt=context["add_generation_prompt"],
            variables={k: v for k, v in context.items() if k not in NAMES_OF_RENDER},
        )
    except InvalidArgument:
        return None
