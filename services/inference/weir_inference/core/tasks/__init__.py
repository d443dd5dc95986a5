"""Pipelines: typed inputs to tensors, and the tensors of a model's answer to predictions."""
