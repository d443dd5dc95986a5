"""The gateway's two wires: gRPC (`weir.gateway.v1`) and OpenAI's HTTP API. No decisions."""
