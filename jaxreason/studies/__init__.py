"""A study: its arms and bases, its stages in order, and what needs several of the stages at once."""
