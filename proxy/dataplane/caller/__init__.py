"""The caller's side: bytes to requests, one after the other, and answers back in that order."""
