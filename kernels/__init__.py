"""Tensor operations of the engine: they know tensors and nothing else."""
