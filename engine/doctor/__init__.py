"""Whether this machine can run the engine: facts, what they mean, and two trials."""
