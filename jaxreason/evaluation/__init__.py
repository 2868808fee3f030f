"""Benchmarks, scores and the transferability index."""
