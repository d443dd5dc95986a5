"""KServe's Python server over an ONNX file: `python kserve_onnx.py FILE GRPC_PORT HTTP_PORT`.

Run by KServe's interpreter.
"""

import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Onnx(Model):
    """A session, with as many threads as Weir gives it."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._session = onnxruntime.InferenceSession(file, options)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        """Compute."""
        inputs = {one.name: one.as_numpy() for one in payload.inputs}
        names = [one.name for one in self._session.get_outputs()]
        outputs = []
        for name, output in zip(names, self._session.run(names, inputs), strict=True):
            one = InferOutput(name=name, shape=list(output.shape), datatype="FP32")
            one.set_data_from_numpy(output, binary_data=True)
            outputs.append(one)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    file, grpc_port, http_port = sys.argv[1:]
    server = ModelServer(
        http_port=int(http_port), grpc_port=int(grpc_port), enable_docs_url=False, workers=1
    )
    server.start([Onnx("model", file)])
