"""The Open Inference Protocol v2 at the gateway: over gRPC, and over HTTP under `/v2`."""
