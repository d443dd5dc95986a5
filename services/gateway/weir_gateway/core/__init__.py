"""What the gateway knows: the life of one request, and what of it is charged."""
