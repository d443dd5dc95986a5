"""Models run by vLLM in this process: over several GPUs and machines, too."""
