"""The language model: the seam and its backends."""
