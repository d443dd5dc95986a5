"""The gateway service: the public API and the life of one request."""
