"""Many real conversations at once against a running server, and what they met."""
