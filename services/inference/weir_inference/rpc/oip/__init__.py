"""The Open Inference Protocol v2 over the models that take tensors."""
