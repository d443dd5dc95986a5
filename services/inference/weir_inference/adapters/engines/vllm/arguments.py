"""A model's spec as vLLM's arguments, a request as its sampling parameters."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from weir_inference.adapters.engines.vllm.library import Vllm
from weir_inference.core.grammar import GrammarSpec, Matcher
from weir_inference.core.request import Request
from weir_inference.core.vllm_spec import VllmSpec

MIB = 1 << 20
TOP_LOGPROBS_MAX = 20
SEED_BITS = 63
# Our kinds of grammar that vLLM has as well, by its names for them.
GRAMMARS = {"json_schema": "json", "regex": "regex", "choices": "choice"}


class VllmGrammar:
    """A grammar that vLLM compiles and follows itself."""

    def __init__(self, spec: GrammarSpec) -> None:
        self.spec = spec

    def matcher(self) -> Matcher:
        """There is none outside of vLLM."""
        raise NotImplementedError


def engine_arguments(folder: Path, spec: VllmSpec) -> dict[str, Any]:
    """What `AsyncEngineArgs` takes. Nothing of the folder but safetensors and JSON is read."""
    given = {key: value for key, value in asdict(spec).items() if value is not None}
    kv_mb = given.pop("kv_cache_memory_mb", None)
    if kv_mb is not None:
        given["kv_cache_memory_bytes"] = kv_mb * MIB
    if not spec.enable_lora:
        del given["max_loras"], given["max_lora_rank"]
    return {
        key: str(value) if isinstance(value, str) else value for key, value in given.items()
    } | {
        "model": str(folder),
        "load_format": "safetensors",
        "trust_remote_code": False,
        "skip_tokenizer_init": not (folder / "tokenizer.json").is_file(),
        "max_logprobs": TOP_LOGPROBS_MAX,
        # Log-probabilities are the model's own, before temperature and penalties.
        "logprobs_mode": "raw_logprobs",
    }


def sampling_parameters(vllm: Vllm, request: Request) -> Any:
    """`SamplingParams`. Raises vLLM's own errors."""
    sampling = request.sampling
    grammar = None
    if isinstance(request.grammar, VllmGrammar):
        kind, texts = request.grammar.spec.kind, request.grammar.spec.texts
        value = list(texts) if kind == "choices" else texts[0]
        grammar = vllm.StructuredOutputsParams(**{GRAMMARS[kind]: value})
    return vllm.SamplingParams(
        temperature=0.0 if sampling.greedy else sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=None if sampling.seed is None else sampling.seed % (1 << SEED_BITS),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        max_tokens=request.max_output_tokens,
        logprobs=request.top_logprobs,
        prompt_logprobs=request.prompt_top_logprobs,
        structured_outputs=grammar,
        detokenize=False,
        output_kind=vllm.RequestOutputKind.DELTA,
    )
