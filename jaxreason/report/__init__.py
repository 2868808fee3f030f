"""One report of a study, made only from its files."""
