"""What config.json asks for is done faithfully or refused by name."""

from typing import Any

import pytest

from weir_inference.adapters.engines.torch.model_config import ModelConfig, UnsupportedModel

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"torch_dtype": "float8_e4m3fn"}, "float8_e4m3fn"),
        (
            {
                "architectures": ["Qwen2ForCausalLM"],
                "use_sliding_window": True,
                "sliding_window": 8,
            },
            "use_sliding_window",
        ),
    ],
)
def test_what_cannot_be_run_faithfully_is_refused_by_name(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        ModelConfig.from_dict({**LLAMA, **changes})


def test_a_lean_config_gets_the_architectures_defaults() -> None:
    config = ModelConfig.from_dict(LLAMA)
    assert (config.n_kv_heads, config.head_dim, config.dtype) == (4, 8, "fp32")
    assert not config.tie_embeddings
    assert config.eos_token_ids == ()


@pytest.mark.parametrize(
    ("written", "read"), [("bfloat16", "bf16"), ("float16", "bf16"), ("float32", "fp32")]
)
def test_the_number_format_is_read_old_style_and_new(written: str, read: str) -> None:
    assert ModelConfig.from_dict({**LLAMA, "torch_dtype": written}).dtype == read
    assert ModelConfig.from_dict({**LLAMA, "dtype": written}).dtype == read


def test_several_end_of_text_tokens_are_kept() -> None:
    assert ModelConfig.from_dict({**LLAMA, "eos_token_id": [5, 6]}).eos_token_ids == (5, 6)
