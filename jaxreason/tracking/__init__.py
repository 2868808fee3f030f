"""Reports on a run while it goes on: the metric logger, experiment trackers, and a profiler trace."""
