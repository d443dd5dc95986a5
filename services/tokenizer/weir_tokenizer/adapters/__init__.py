"""Tokenizers and chat templates in Hugging Face's format."""
