"""Questions that are made by a program: those of the tiny study, and sums. Nothing here uses jax."""
