"""WebSockets once they are open: two transports spliced, and how they end."""
