"""Drift analysis: the distance of a tuned model from its base."""
