"""The processes of a job: how they join, how they end together, and how a signal stops them."""
