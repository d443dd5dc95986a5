"""What served models get right: suites of examples, asked for as any client asks, and scored."""
