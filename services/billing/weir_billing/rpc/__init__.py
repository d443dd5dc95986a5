"""Proto to core and back."""
