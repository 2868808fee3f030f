"""Makes a dataset of a teacher's answers: asks for them, verifies them, chooses and writes
them (docs/distillation.md).
"""
