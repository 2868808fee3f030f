"""What a run reports while it runs: the metric logger, experiment trackers, and a profiler trace."""
