"""Speech recognition: the seam, its backends, and the policies around them."""
