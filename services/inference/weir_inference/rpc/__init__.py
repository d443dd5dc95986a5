"""The gRPC servicers: proto to core and back."""
