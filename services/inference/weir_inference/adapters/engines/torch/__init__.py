"""The native engine: Llama-architecture models in torch over a paged KV cache."""
