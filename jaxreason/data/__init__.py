"""Rows from anywhere to token batches; no jax here."""
