"""Voice activity detection: the network, and the endpointer that reads it."""
