"""The commands of `weir`, one noun a file."""
