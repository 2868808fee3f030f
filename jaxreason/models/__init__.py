"""The network: the only place that imports Flax."""
