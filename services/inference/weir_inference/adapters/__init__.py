"""What touches the world: engines, peers, stores."""
