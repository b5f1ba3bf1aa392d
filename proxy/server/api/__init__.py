"""The gateway's own JSON API, its description, and the links that it gives out."""
