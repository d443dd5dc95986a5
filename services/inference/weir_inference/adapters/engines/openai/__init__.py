"""Models that run elsewhere: any server with OpenAI's HTTP interface."""
