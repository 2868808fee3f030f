"""A study: its arms and bases, its stages in order, and the work that needs several stages at once."""
