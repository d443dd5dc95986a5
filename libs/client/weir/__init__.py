"""The Python SDK of Weir."""
