"""What policy knows: keys, limits, rules, the screen and the audit chain. Pure Python."""
