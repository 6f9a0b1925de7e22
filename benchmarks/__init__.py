"""Figures that anyone can make again: `python -m benchmarks.NAME [--json] [--quick]`."""
