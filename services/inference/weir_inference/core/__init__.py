"""What inference knows, without tensors: requests, scheduler, KV accounting, the engine loop."""
