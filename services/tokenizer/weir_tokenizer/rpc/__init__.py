"""Protobuf to core and back."""
