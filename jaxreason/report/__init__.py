"""One report of a study, from its files alone."""
