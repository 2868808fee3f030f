"""On-policy reinforcement learning on verified rewards."""
