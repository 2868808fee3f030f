"""The training step, its optimizer, and supervised fine-tuning."""
