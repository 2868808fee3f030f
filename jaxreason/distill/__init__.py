"""A teacher's answers to questions: asked for, verified, chosen and written as a dataset (docs/distillation.md)."""
