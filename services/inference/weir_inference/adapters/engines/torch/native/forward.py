"""`Forward` by the kernels: a step in one call."""

import ctypes
from collections.abc import Sequence

from torch import Tensor

from weir_inference.adapters.engines.torch.decoder import Adapt, unadapted
from weir_inference.adapters.engines.torch.forward import PlainForward, ids_and_positions
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.native.backend import NativeBackend, address_of
from weir_inference.adapters.engines.torch.native.library import (
    DecoderView,
    LayerView,
    StepView,
    library,
)
from weir_inference.adapters.engines.torch.native.matrix import NativeMatrix
from weir_inference.adapters.engines.torch.weights import DecoderWeights, LayerWeights, Matrix
from weir_inference.core.step_plan import Slice


class NativeForward:
    """All layers in one call, which lets go of the interpreter for as long as a step computes.

    What adapters add to a layer is between its products: their steps go layer by layer. The
    backend's cache is open.
    """

    def __init__(
        self, config: ModelConfig, weights: DecoderWeights, backend: NativeBackend
    ) -> None:
        self._plain = PlainForward(config, weights, backend)
        self._config = config
        self._backend = backend
        # Addresses are passed on; what lies there is held here.
        self._weights = weights
        views = [layer_view(one, backend.cache_of(i)) for i, one in enumerate(weights.layers)]
        self._layers = (LayerView * len(views))(*views)
        cosines, sines = backend.angles
        self._decoder = DecoderView(
            layers=ctypes.addressof(self._layers),
            n_layers=len(views),
            hidden=config.hidden_size,
            embedding=_address(weights.embedding),
            attention=backend.shape,
            norm=weights.norm.data_ptr(),
            cosines=cosines,
            sines=sines,
            eps=config.rms_norm_eps,
        )
        first = weights.layers[0]
        self._qkv_columns = first.qkv.n_columns
        self._gated_columns = first.gate_up.n_columns // 2

    def __call__(
        self, slices: Sequence[Slice], adapt: Adapt, chosen: Tensor | None = None
    ) -> Tensor:
        """See `Forward`."""
        assert chosen is None, "on a CPU no step starts before the one before it is over"
        if adapt is not unadapted:
            return self._plain(slices, adapt)
        ids, positions = ids_and_positions(slices, self._backend.device)
        attention = self._backend.attention(slices, positions)
        rows, buffer = len(ids), self._backend.ops.buffer
        out = buffer("normed", rows, self._config.hidden_size)
        step = StepView(
            ids.data_ptr(),
            attention.positions,
            attention.slots,
            attention.spans,
            attention.tables,
            rows,
            attention.n_spans,
            buffer("embedded", rows, self._config.hidden_size).data_ptr(),
            out.data_ptr(),
            buffer("product", rows, self._qkv_columns).data_ptr(),
            buffer("mixed", rows, self._config.width_q).data_ptr(),
            buffer("gated", rows, self._gated_columns).data_ptr(),
        )
        library().weir_decode(ctypes.addressof(self._decoder), ctypes.addressof(step))
        return out


def layer_view(layer: LayerWeights, cache: int) -> LayerView:
    """Where a layer's weights lie, and its part of the cache."""
    return LayerView(
        attention_norm=layer.attention_norm.data_ptr(),
        q_norm=address_of(layer.q_norm),
        k_norm=address_of(layer.k_norm),
        mlp_norm=layer.mlp_norm.data_ptr(),
        qkv=_address(layer.qkv),
        o=_address(layer.o),
        gate_up=_address(layer.gate_up),
        down=_address(layer.down),
        cache=cache,
    )


def _address(matrix: Matrix) -> int:
    assert isinstance(matrix, NativeMatrix)
    return matrix.address
