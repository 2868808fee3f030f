"""Computes what a recipe needs on a named slice, without having that slice."""
