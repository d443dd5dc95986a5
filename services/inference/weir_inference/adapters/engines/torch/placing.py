"""The way of small numbers from the host to the device, and back."""

from collections.abc import Callable, Sequence

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


def fetching(tensor: Tensor) -> Callable[[], list[int]]:
    """Begin to copy [n] int64 to the host; what is returned waits for the copy alone.

    Not for what the device is told to do after it.
    """
    if tensor.device.type != "cuda":
        return tensor.tolist
    host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> list[int]:
        copied.synchronize()
        return host.tolist()

    return wait
