"""The notebook's side: connections, the pool that keeps them, and the way from a mount to a session."""
