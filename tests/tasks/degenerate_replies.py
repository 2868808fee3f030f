"""Replies of a model that has come apart, and an example for every grader and every instruction."""

import json

from jaxreason.data.examples import Example
from jaxreason.tasks.ifeval_checks import INSTRUCTIONS

LENGTH = 40_000
UNITS = {
    "newlines": "\n", "spaces": " ", "tabs and newlines": "\t\n", "dots": ".", "marks": "?!.",
    "dots and spaces": ". ", "digits": "7", "commas": "1,", "thousands": ",111", "minus": "-",
    "asterisks": "*", "bold": "**a", "bullets": "* a\n", "dashes": "-\n", "underscores": "_",
    "words": "so ", "one word": "a", "initials": "a.b. ", "capitals": "A ", "Is": "I) ",
    "answers": "the answer is ", "options": "option A ", "hashes": "#### ", "hash": "#",
    "boxes": r"\boxed{", "boxes with spaces": "\\boxed ", "full boxes": r"\boxed{5}",
    "empty boxes": r"\boxed{}", "braces": "{", "pairs": "{}", "closing braces": "}",
    "brackets": "[", "placeholders": "[a]", "parentheses": "(", "angles": "<<", "titles": "<<a>>",
    "backslashes": "\\", "dollars": "$", "texts": r"\text{", "fractions": r"\frac{1}{",
    "powers": "5^{", "roots": r"\sqrt{", "quotes": "\"'", "thoughts": "<think>",
    "ends of thoughts": "</think>", "equals": "x=", "and": "1 and ", "slashes": "1/",
    "emoji": "\U0001f600", "accents": "e\u0301", "wide": "\u4e2d", "line separators": "\u2028",
    "surrogates": "\ud800", "NUL": "\0", "JSON": '{"a":', "separators": "******", "P.S.": "p. ",
}  # fmt: skip
LEADS = {"": "", "the answer is": "the answer is"}
REPLIES = {
    f"{lead} {name}".strip(): start + (unit * LENGTH)[: LENGTH - len(start)]
    for name, unit in UNITS.items()
    for lead, start in LEADS.items()
} | {
    f"a full box of {name}": rf"\boxed{{{(unit * LENGTH)[: LENGTH - 8]}}}"
    for name, unit in UNITS.items()
}
# A beginning, what is repeated, and an end at which a pattern that has read all of it must give up.
BETWEEN = {
    "an answer with asterisks": ("Answer: 5", "*", "x"), "groups of zeros": ("1", " 000", " 1"),
    "spaces in a box": (r"\boxed{5", " ", "(x}"), "a refuted box": ("", r"\boxed{A} is wrong. ", "B"),
}  # fmt: skip
REPLIES |= {
    name: start + (unit * LENGTH)[: LENGTH - len(start) - len(end)] + end
    for name, (start, unit, end) in BETWEEN.items()
}
ARGUMENTS = {
    "keywords": ["so"], "keyword": "so", "relation": "at least", "frequency": 2,
    "forbidden_words": ["so"], "letter": "a", "let_relation": "at least", "let_frequency": 2,
    "language": "de", "num_sentences": 3, "num_paragraphs": 2, "num_words": 9, "nth_paragraph": 1,
    "first_word": "so", "num_placeholders": 2, "postscript_marker": "P.P.S", "num_bullets": 2,
    "num_highlights": 2, "section_spliter": "Section", "num_sections": 2,
    "prompt_to_repeat": "so", "end_phrase": "so", "capital_relation": "less than",
    "capital_frequency": 3,
}  # fmt: skip


def arguments_of(name: str) -> dict:
    """An argument for each parameter of an instruction."""
    function = INSTRUCTIONS[name]
    names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    return {key: ARGUMENTS[key] for key in names}


# What graders of code need: a program that adds one, tried once.
CODE = {
    "tests": {
        "public": json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}]),
        "private": None,
    },
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "assertions": ["assert f(1) == 2"],
    "function": "f",
    "question": "def f(x):\n",
}


def example_of(task: str, instruction: str | None = None) -> Example:
    """A question of the task; of IFEval with one instruction, or with all."""
    names = [instruction] if instruction else [*INSTRUCTIONS]
    metadata = {"instruction_id_list": names, "kwargs": [arguments_of(name) for name in names]}
    answer = {"halueval": "yes", "halueval_paper": "no", "multiple_choice": "B"}.get(task, "5")
    metadata = metadata if task.startswith("ifeval") else {"references": [answer, "so"]} | CODE
    question = {"role": "user", "content": "Q: so?" if task.startswith("coqa") else "so"}
    return Example("1", task, (question,), answer, "", metadata)
