"""What billing knows, pure: money, prices, holds and transfers."""
