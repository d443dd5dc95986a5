"""Models that answer in one piece, beside other servers of the same file."""
