"""Compile the CUDA kernels to machine code, which needs no GPU. Run by test_cuda_backend."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from weir_inference.adapters.engines.torch.cuda import attention, ops, rotary

BF16, FP32, INT32 = "*bf16", "*fp32", "*i32"
HEADS = {"n_kv_heads": 8, "group": 4, "head_dim": 64, "head_dim_padded": 64, "block_size": 16}
ATTEND = {"q": BF16, "keys": BF16, "values": BF16, "tables": INT32, "tiles": INT32,
          "n_splits": "i32", "scale": "fp32"}  # fmt: skip
LOOK = {**HEADS, "q_stride": 48 * 64, "keys_at_once": 64}

# kernel, types of arguments, constants
KERNELS: list[tuple[Any, dict[str, str], dict[str, Any]]] = [
    (
        attention.attend_tile,
        {**ATTEND, "out": BF16, "peaks": BF16},
        {**LOOK, "window": 0, "rows": 64, "split": False},
    ),
    (
        attention.attend_tile,
        {**ATTEND, "out": FP32, "peaks": FP32},
        {**LOOK, "window": 4096, "rows": 16, "split": True},
    ),
    (
        attention.join_splits,
        {"mixed": FP32, "peaks": FP32, "tiles": INT32, "out": BF16, "n_splits": "i32"},
        {"n_heads": 32, "head_dim": 64, "head_dim_padded": 64},
    ),
    (
        rotary.rotate_head,
        {"qkv": BF16, "cos": FP32, "sin": FP32, "keys": BF16, "values": BF16,
         "positions": INT32, "slots": INT32},
        {"n_heads": 32, "n_kv_heads": 8, "half": 32, "half_padded": 32},
    ),
    (
        ops.norm_row,
        {"x": BF16, "weight": BF16, "out": BF16, "eps": "fp32", "stride": "i32"},
        {"n_heads": 1, "n_columns": 2048, "n_columns_padded": 2048},
    ),
    (ops.gate_columns, {"both": BF16, "out": BF16}, {"n_columns": 8192, "columns": 1024}),
]  # fmt: skip

for kernel, types, constants in KERNELS:
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    for capability in (80, 90):
        source = ASTSource(kernel, signature, constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert compiled.asm["cubin"]
