"""What stages leave on disk for each other: one writer and one reader of every file."""
