"""The parts of docs/BENCHMARKS.md: each makes Markdown of one kind of result."""
