r"""Patterns of words in an answer, `\text{...}`."""

WORDS = r"\\(?:text(?:rm|it|bf|normal)?|mbox|math(?:rm|it|bf))\s*\{(?:[^{}]|\{[^{}]*\})*\}"
TEXT = r"\\(?:text(?:rm|it|bf|normal)?|mbox|math(?:rm|it|bf|sf|tt))\s*"
INSIDE = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"  # Braces, nested at most two deep.
