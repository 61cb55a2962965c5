"""Measurements that others can repeat; see docs/benchmarks.md."""
