"""The processes of a job: how they find each other, how they end together, and how a signal stops them."""
