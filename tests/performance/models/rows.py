"""Rows that a model takes: the same for every contender."""

from typing import Any

import numpy as np

DTYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
ANY_SIZE = 64  # of a dimension after the first that may have any size
ID_MAX = 200


def rows(session: Any, n: int) -> dict[str, np.ndarray]:
    """`n` rows of seeded numbers for each input of an onnxruntime session."""
    random = np.random.default_rng(1)
    made = {}
    for one in session.get_inputs():
        shape = [n, *(size if isinstance(size, int) else ANY_SIZE for size in one.shape[1:])]
        dtype = DTYPES[one.type]
        if dtype is np.float32:
            made[one.name] = random.random(shape, dtype=np.float32)
        else:
            made[one.name] = random.integers(0, ID_MAX, shape).astype(dtype)
    return made
