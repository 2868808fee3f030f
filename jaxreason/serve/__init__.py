"""An OpenAI-compatible HTTP endpoint over the sampling engine."""
