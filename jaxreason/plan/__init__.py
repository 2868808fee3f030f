"""What a recipe needs on a named slice, found out without one."""
