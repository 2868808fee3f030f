"""The files that stages leave for each other on disk: one writer and one reader for each."""
