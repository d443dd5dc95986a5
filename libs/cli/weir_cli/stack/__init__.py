"""A whole Weir on this machine: PostgreSQL, Redis and the services, supervised."""
