"""`Forward` on a GPU: steps of decoding alone by CUDA graphs, others launch by launch."""

from collections.abc import Sequence

from torch import Tensor

from weir_inference.adapters.engines.torch.cuda.backend import CudaBackend
from weir_inference.adapters.engines.torch.cuda.decode_graphs import Capture, DecodeGraphs
from weir_inference.adapters.engines.torch.cuda.step_inputs import StepInputs
from weir_inference.adapters.engines.torch.decoder import Adapt, decode, unadapted
from weir_inference.adapters.engines.torch.forward import put_chosen
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.weights import DecoderWeights
from weir_inference.core.step_plan import Slice


class CudaForward:
    """`capture` makes the graphs, of steps of up to `rows_max` rows; None for no graphs.

    The backend's cache is open.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: DecoderWeights,
        backend: CudaBackend,
        capture: Capture | None,
        rows_max: int,
    ) -> None:
        self._config = config
        self._weights = weights
        self._backend = backend
        self.graphs: DecodeGraphs | None = None
        if capture is not None:
            self.graphs = DecodeGraphs(backend, self._compute, capture, rows_max)

    def __call__(
        self, slices: Sequence[Slice], adapt: Adapt, chosen: Tensor | None = None
    ) -> Tensor:
        """See `Forward`."""
        if self.graphs is not None and adapt is unadapted and self.graphs.fit(slices):
            return self.graphs.run(slices, chosen)
        step = self._backend.inputs(slices)
        put_chosen(step.ids, slices, chosen)
        return self._compute(step, adapt)

    def _compute(self, step: StepInputs, adapt: Adapt = unadapted) -> Tensor:
        ops = self._backend.ops
        return decode(
            self._weights,
            ops,
            ops.embed(self._weights.embedding, step.ids),
            self._backend.attend(step),
            self._config.rms_norm_eps,
            adapt,
        )
