"""Pre-training of a small tale-telling model from a folder of texts."""
