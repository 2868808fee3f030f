r"""The letter graders of the released evaluation, including their mistakes: scores as the paper's code gives them.

Both read the whole completion: a letter in the thoughts counts like one in the answer, and a reply that is cut off in
its thoughts is graded by the last letter there.
"""

import re
import string
import unicodedata

from jaxreason.data.examples import Example

# Upper-casing turns the English article "a" into a letter A: a reply whose last stand-alone letter is an article ("D,
# since this is a proton") answers A. The gold option of the paper's GPQA is always D, so each such reply is wrong
# there.
GPQA_LETTER = re.compile(r"\b([ABCD])\b")

# ACPBench's filter as the harness has it; the last match counts.
# - `[answer is ]` is a class of characters, not the words: any capital A to D after one of these letters or a space is
#   a match, also the article in "A car" and the C of "Car".
# - `([A-D])` makes every capital A to D a match, also inside "AND" and "Block": in a sentence after the answer, the
#   last such capital becomes the answer.
# - After "**Final Answer**: ", any other beginning ("**B**", "option B") is taken up to the last character but one of
#   its line: it is right only if it contains nothing but the letter and ASCII punctuation.
ACPBENCH_ANSWER = re.compile(
    r"(((?<=[answer is ])[A-D])|([A-D]\n)|([A-D]\.)|( [A-D] )|(^[A-D]$)|(\[[A-D]\])|([A-D])"
    r"|(?<=..Final Answer..: )(.*)(?=.)|(?<=..answer..: )(.*)(?=.)|(?<=..Answer..: )(.*)(?=.))"
)
# If that finds nothing, the harness looks for the texts of the choices, but takes the keys of `choices` for them: the
# word "text" stands for A and "label" for B.
ORDER = ["text", "label"]
KEYS = re.compile("|".join(ORDER))
# If there are none, it looks for one of as many letters as there are keys, after a colon.
AFTER_COLON = re.compile(r":\s*(A|B)")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def extract_gpqa(example: Example, text: str) -> str | None:
    """Returns the last stand-alone A, B, C or D of the upper-cased completion."""
    found = GPQA_LETTER.findall(text.upper())
    return found[-1] if found else None


def score_gpqa(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy` and `answered`, as Evalchemy's GPQA-Diamond gives them."""
    answer = extract_gpqa(example, text)
    return letter_metrics(answer, answer == example.answer.strip())


def extract_acpbench(example: Example, text: str) -> str | None:
    """Returns the last match of the filter, unchanged; None where the harness writes "[invalid]"."""
    found = last_match(text)
    if found:
        return found
    words = "".join(x for x in text.lower() if not unicodedata.category(x).startswith("P"))
    choices = example.metadata.get("choices")
    keys = [*choices] if isinstance(choices, dict) and {"text", "label"} <= {*choices} else ORDER
    if named := KEYS.findall(words):
        return f"({'AB'[keys.index(named[-1])]})"
    letters = AFTER_COLON.findall(text)
    return f"({letters[-1]})" if letters else None


def last_match(text: str) -> str:
    """Returns the last match of ACPBENCH_ANSWER without surrounding white space, or ""."""
    found = ""
    for match in ACPBENCH_ANSWER.finditer(text):
        found = match[0]
    return found.strip()


def score_acpbench(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy` and `answered`: right if the match equals the gold letter up to case and punctuation."""
    answer = extract_acpbench(example, text)
    right = answer is not None and comparable(answer) == comparable(example.answer)
    return letter_metrics(answer, right)


def comparable(text: str) -> str:
    """Returns a text as the harness's exact match compares it: small letters, no ASCII punctuation, one line."""
    return text.replace("\n", "").lower().translate(NO_PUNCTUATION)


def letter_metrics(answer: str | None, right: bool) -> dict[str, float]:
    """Returns the metrics of a reply."""
    return {"accuracy": float(right), "answered": float(answer is not None)}
