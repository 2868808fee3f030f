"""Generation and scoring of text with a key-value cache."""
