"""The graders: how questions are asked, and when an answer is right; no jax here."""
