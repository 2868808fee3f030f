"""Turns rows from any source into token batches. Nothing here uses jax."""
