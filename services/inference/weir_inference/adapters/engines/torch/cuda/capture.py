"""Capturing CUDA graphs: all that the tests leave out."""

import torch

from weir_inference.adapters.engines.torch.cuda.decode_graphs import Capture, Compute

WARM_UPS = 2  # kernels are compiled and workspaces found, which a capture must not do


def capture_on(device: torch.device) -> Capture:
    """A `Capture` of graphs that share their memory: run one at a time, on one stream."""
    pool = torch.cuda.graph_pool_handle()

    def capture(compute: Compute) -> Compute:
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    compute()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: of explanations, of other models.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                out = compute()

        def replay() -> torch.Tensor:
            graph.replay()
            return out

        return replay

    return capture
