"""What the tokenizer service knows: incremental decoding, stop strings, bounds. Pure Python."""
