"""The files that stages leave for each other on disk: each format has one writer and one reader."""
