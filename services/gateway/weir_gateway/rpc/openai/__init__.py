"""OpenAI's HTTP API, as its SDK speaks it (https://platform.openai.com/docs/api-reference)."""
