r"""Patterns of words in an answer, `\text{...}`."""

TEXT = r"\\(?:text(?:rm|it|bf|sf|tt|sc|sl|up|md|normal)?|[mh]box|emph|math(?:rm|it|bf|sf|tt))\s*"
WORDS = rf"{TEXT}\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}"
INSIDE = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"  # Braces, nested at most two deep.
