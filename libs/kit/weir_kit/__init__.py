"""What every Weir service stands on."""
