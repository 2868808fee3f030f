"""What a question asks and when an answer is right; no jax here."""
