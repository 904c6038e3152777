"""The Triton forms of the operations. Import a module only where triton is installed."""
