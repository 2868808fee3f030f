"""The graders: how questions are put to a model, and when a reply is right. Nothing here uses jax."""
