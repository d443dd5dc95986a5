"""The inference service: models, engines, the scheduler and the KV cache."""
