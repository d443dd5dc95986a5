"""One ONNX model in onnxruntime: what it takes and gives, and one run of it."""

import ctypes
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.core.tensors import ANY, Datatype, Tensor, Tensors, TensorSpec
from weir_kit.errors import InvalidArgument

log = logging.getLogger(__name__)

DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(string)": Datatype.BYTES,
}
ONNX_BFLOAT16 = 16  # TensorProto.DataType
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
FATAL = 4  # onnxruntime raises its errors; it would also print them, with values of inputs


class BadOnnxModel(ValueError):
    """The model cannot be served: the message says why."""


class OnnxModel:
    """A session. `run` may be called by several threads at once.

    `symbols` are the names that the model gives to dimensions of any size, by input or output;
    `sizes_known` says that, but for the number of rows, its inputs come in few sizes.
    Weights that older models also list as inputs are no inputs here.

    Raises `BadOnnxModel`. onnxruntime itself refuses operators that it does not know (no library of
    custom ones is ever loaded) and weights in files that are not in the model's folder.
    """

    def __init__(self, file: Path, settings: OnnxSettings) -> None:
        providers = _providers(settings)
        try:
            self._session = ort.InferenceSession(
                file,
                _session_options(settings),
                providers=providers,
                enable_fallback=0,
                read_config_from_model=0,
            )
        except Exception as error:  # onnxruntime's errors have no other class in common
            raise BadOnnxModel(f"{file.name}: onnxruntime cannot load it: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0][0]:
            _no_device(settings, self.provider)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs = tuple(_spec(file, "input", one) for one in inputs)
        self.outputs = tuple(_spec(file, "output", one) for one in outputs)
        self.symbols = {one.name: _symbols(one.shape) for one in (*inputs, *outputs)}
        self.sizes_known = bool(settings.length_buckets) or not any(
            ANY in spec.shape[1:] for spec in self.inputs
        )
        self._run_options = ort.RunOptions()
        if not self.sizes_known and self.provider == CPU:
            # Else the arena keeps memory for the largest sizes that ever came.
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._bytes_in = [one.name for one in self.inputs if one.datatype is Datatype.BYTES]
        self._bytes_out = {one.name for one in self.outputs if one.datatype is Datatype.BYTES}
        datatypes = {one.datatype for one in (*self.inputs, *self.outputs)}
        self._has_bf16 = Datatype.BF16 in datatypes
        if self._has_bf16 and Datatype.BYTES in datatypes:
            raise BadOnnxModel(f"{file.name}: it mixes BF16 and BYTES, which onnxruntime cannot")

    def run(self, inputs: Tensors, names: Sequence[str]) -> dict[str, Tensor]:
        """Compute the outputs so named, of inputs that fit the specs.

        Raises `InvalidArgument` where the model refuses the inputs, onnxruntime's own errors where
        computing failed: their messages may hold values of the inputs.
        """
        if self._bytes_in:
            inputs = {**inputs, **{name: _texts(name, inputs[name]) for name in self._bytes_in}}
        try:
            if self._has_bf16:
                return self._run_values(inputs, names)
            outputs = self._session.run(names, inputs, self._run_options)
        except Exception as error:
            refusal = self._refusal(inputs, error)
            if refusal is None:
                raise
            raise refusal from None  # not from what holds values
        if self._bytes_out:
            outputs = [
                _bytes(one) if name in self._bytes_out else one
                for name, one in zip(names, outputs, strict=True)
            ]
        return dict(zip(names, outputs, strict=True))

    def _run_values(self, inputs: Tensors, names: Sequence[str]) -> dict[str, Tensor]:
        """The same by onnxruntime's own values: it takes no arrays of BF16, and gives none."""
        given = {name: _value(tensor) for name, tensor in inputs.items()}
        values = self._session.run_with_ort_values(names, given, self._run_options)
        return {name: _array(value) for name, value in zip(names, values, strict=True)}

    def _refusal(self, inputs: Tensors, error: Exception) -> InvalidArgument | None:
        """What is wrong with inputs that fit the specs, if that is why the model failed."""
        seen: dict[str, tuple[int, str]] = {}
        for name, tensor in inputs.items():
            for symbol, size in zip(self.symbols[name], tensor.shape, strict=True):
                other_size, other = seen.setdefault(symbol, (size, name))
                if symbol and other_size != size:
                    return InvalidArgument(
                        f"dimension {symbol!r} is {size} in input {name!r} and {other_size} in "
                        f"input {other!r}; it must be the same",
                        field=f"inputs.{name}",
                    )
        if not isinstance(error, ort.capi.onnxruntime_pybind11_state.InvalidArgument):
            return None
        names = ", ".join(inputs)
        return InvalidArgument(
            f"the model refuses the sizes or values of its inputs ({names})", field="inputs"
        )


def _session_options(settings: OnnxSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = settings.threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spin)))
    options.enable_mem_pattern = False  # it is kept for every shape that ever comes
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if settings.optimize else levels.ORT_DISABLE_ALL
    )
    return options


def _providers(settings: OnnxSettings) -> list[tuple[str, dict[str, Any]]]:
    """What to compute with, the first choice first; what it cannot do, the next does."""
    offered = ort.get_available_providers()
    wish = settings.provider
    if wish == "auto":  # not TensorRT: it takes minutes to load a model
        wish = "cuda" if CUDA in offered else "cpu"
    wanted = {"cpu": [CPU], "cuda": [CUDA, CPU], "tensorrt": [TENSORRT, CUDA, CPU]}[wish]
    if wanted[0] not in offered:
        raise InvalidArgument(
            f"this build of onnxruntime offers {', '.join(offered)}; {wish} needs onnxruntime-gpu",
            field="provider",
        )
    return [(name, _provider_options(name, settings)) for name in wanted]


def _provider_options(name: str, settings: OnnxSettings) -> dict[str, Any]:
    if name == CPU:
        return {}
    options: dict[str, Any] = {"device_id": settings.device_id}
    if name == CUDA:
        options["arena_extend_strategy"] = "kSameAsRequested"
    return options


def _no_device(settings: OnnxSettings, provider: str) -> None:
    """onnxruntime goes on by the CPU if a GPU's libraries do not load; say so, or refuse."""
    message = f"onnxruntime could not open the device: it would compute by {provider}"
    if settings.provider != "auto":
        raise InvalidArgument(message, field="provider")
    log.warning(message)


def _spec(file: Path, what: str, one: Any) -> TensorSpec:
    datatype = DATATYPES.get(one.type)
    if datatype is None:
        hint = ""
        if one.type.startswith("seq(map("):
            hint = " (scikit-learn's ZipMap: convert the model with the option zipmap=False)"
        raise BadOnnxModel(
            f"{file.name}: {what} {one.name!r} is {one.type}; served are tensors of the Open "
            f"Inference Protocol's datatypes{hint}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else ANY for size in one.shape)
    return TensorSpec(one.name, datatype, shape)


def _symbols(shape: Sequence[int | str | None]) -> tuple[str, ...]:
    """The name of each dimension; empty where it has none."""
    return tuple(size if isinstance(size, str) else "" for size in shape)


def _texts(name: str, tensor: Tensor) -> Tensor:
    """onnxruntime's strings are `str`."""
    try:
        texts = [element.decode() for element in tensor.flat]
    except UnicodeDecodeError:
        raise InvalidArgument(f"input {name!r} must be UTF-8", field=f"inputs.{name}") from None
    return _objects(texts, tensor.shape)


def _bytes(tensor: Tensor) -> Tensor:
    return _objects([text.encode() for text in tensor.flat], tensor.shape)


def _objects(elements: list[Any], shape: tuple[int, ...]) -> Tensor:
    tensor = np.empty(len(elements), dtype=object)
    tensor[:] = elements
    return tensor.reshape(shape)


def _value(tensor: Tensor) -> ort.OrtValue:
    tensor = np.ascontiguousarray(tensor)
    if tensor.dtype != Datatype.BF16.dtype:
        return ort.OrtValue.ortvalue_from_numpy(tensor)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(tensor.view(np.uint16), ONNX_BFLOAT16)


def _array(value: ort.OrtValue) -> Tensor:
    if value.element_type() != ONNX_BFLOAT16:
        array: Tensor = value.numpy()
        return array
    shape = tuple(value.shape())
    n_bytes = math.prod(shape) * Datatype.BF16.dtype.itemsize
    content = ctypes.string_at(value.data_ptr(), n_bytes)  # run_with_ort_values gives CPU memory
    return np.frombuffer(content, Datatype.BF16.dtype).reshape(shape)
