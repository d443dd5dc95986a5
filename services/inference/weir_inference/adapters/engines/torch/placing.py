"""The way of small numbers from the host to the device."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def placed(
    values: Sequence[float] | Sequence[Sequence[float]] | NDArray[np.generic],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The values on the device.

    From pinned memory, so that the host goes on at once: a copy from other memory waits until the
    device has done all that it was told before.
    """
    host = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        host = host.pin_memory()
    return host.to(device, non_blocking=True)
