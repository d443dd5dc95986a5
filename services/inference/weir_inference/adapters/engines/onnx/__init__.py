"""The ONNX engine: models of any kind, tensors in and tensors out, over onnxruntime."""
