"""Decides by a list of words whether a token belongs to a text's logical structure or to its content."""

import re

LOGICAL, CONTENT, SYMBOL = "logical", "content", "symbol"

# The paper colours its word clouds by these two classes and does not say how it separates them. This list is ours: the
# words of its figures and examples that steer an argument (Wait, But, However, Alternatively, Hmm, So, Let, check,
# maybe, likely, might, confirm, condition, Alright, Now, first, second), and others of these kinds.
WORDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "contrast": """
            but however although though yet still instead otherwise unless except despite whereas
            nevertheless rather alternatively or not
        """,
        "consequence": """
            so therefore thus hence then because since consequently implies means follows conclude
            conclusion finally overall result
        """,
        "condition": """
            if when whenever suppose assume assuming given case cases condition conditions let lets
            whether provided
        """,
        "order": """
            first firstly second secondly third next now after before step steps again also moreover
            furthermore lastly meanwhile
        """,
        "doubt": """
            wait hmm maybe perhaps might may could likely probably possibly seems unsure actually
            hold
        """,
        "check": """
            check verify confirm ensure recheck double correct wrong mistake consider recall note
            notice think okay ok alright indeed yes
        """,
    }.items()
}
_LOGICAL = frozenset(word for words in WORDS.values() for word in words)


def word_class(text: str) -> str:
    """Returns `logical` for a word of the list, `content` for other text with a letter or digit, else `symbol`.

    Marks in angle brackets, such as the end of a turn, are `symbol` too. Case and the characters around the word do not
    matter: " Wait", "wait," and "WAIT" are equal. A part of a longer word that was cut into several tokens is judged
    alone.
    """
    inside = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    if not inside or re.fullmatch(r"<\S+>", text):
        return SYMBOL
    return LOGICAL if len(inside) == 1 and inside[0] in _LOGICAL else CONTENT
