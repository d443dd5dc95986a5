"""The torch engine beside its peers: throughput, latency, memory, and promises kept under load."""
