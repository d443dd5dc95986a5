"""Detectors: one kind of thing to find in a text each."""
