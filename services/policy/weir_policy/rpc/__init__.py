"""Proto ⇄ core; no decisions."""
