"""How far a tuned model drifted from its base."""
