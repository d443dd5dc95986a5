"""Engines: one folder or file per way to run a model."""
