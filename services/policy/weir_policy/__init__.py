"""The policy service: who may do what, and what text may pass."""
