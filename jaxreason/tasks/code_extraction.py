"""Finds the program in a reply: in fences, after a fence that the prompt opened, or without any fence."""

import ast
import re
import warnings
from itertools import islice

from jaxreason.tasks.reply_text import strip_thinking

# A fence of Python may follow a label in its line: "Answer:```python".
_FENCE = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+|\d{1,2}[.)][ \t]+)?(?:[^\n`:]{1,60}:[*_]*[ \t]*(?=```(?:python|py)))?"
    r"(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*$",
    re.MULTILINE,
)
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,2}[.)])[ \t]+")
# Tags that some prompts ask for in place of fences, and signs that end a reply.
_TAGGED = re.compile(
    r"(?is)(?:<(python|code|answer|solution)(?:\s[^<>\n]{1,80})?>|\[(python|code|begin)\])(.*?)(?:</\1>|\[/\2\]|\[done\]|\Z)"
)
_END = re.compile(r"(?:</s>|<\|\w{1,30}\|>)\s*\Z")
_PYTHON = re.compile(r"(?:(?:\.?i?python|\.?py|code)(?:-?[23](?:\.\d+)?)?)?")
# Quoted lines, and what Python's prompt and the user typed after it.
_QUOTE = re.compile(r"^[ \t]*(?:> ?)+(?!>)", re.MULTILINE)
_TYPED = re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?: (.*)|[ \t]*)$", re.MULTILINE)
# A fence that closes at the end of a line of code.
_LATE_CLOSE = re.compile(r"(?<=[^\s`~])[ \t]*(?:```|~~~)[ \t]*$", re.MULTILINE)
# First lines that are code whatever follows, and those that are if they can be parsed.
_SURELY_CODE = re.compile(
    r"(?:from\s+[\w.]+\s+import\b|import\s+\w|(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[:(]|@\w|#!)"
)
_MAYBE_CODE = re.compile(
    r"(?:[A-Za-z_][\w.\[\], ]*[-+*/%|&^]?=(?!=)|[a-z_]\w*\s*:\s*[A-Za-z_][\w.\[\], |]*=(?!=)|[a-z_][\w.]*\(|try\s*:"
    r"|(?:async\s+)?(?:for|with)\b.*:$|(?:while|if)\b.*:$)"
)
_INTRODUCED = re.compile(rf"^{_SURELY_CODE.pattern}.*$", re.MULTILINE)
_SESSION = re.compile(rf"^[ \t]*>>> {_SURELY_CODE.pattern}", re.MULTILINE)
# The rest of a function that the prompt began.
_BODY = re.compile(r"[ \t]|return\b")
_BEFORE_CODE = re.compile(
    r"(?:[ \t]*(?:#[^\n]*)?\n|[ \t]*(?P<quotes>\"\"\"|''')(?s:.)*?(?P=quotes)[ \t]*\n)*+"
)
# A line that is not indented and looks like a sentence, a heading or an item of a list.
_PROSE = re.compile(
    r"^(?:[A-Z][\w'’]*,?[ \t]+[\w'’`(*]+.*|[A-Z]\w+(?: \w+)?:[ \t]*.*|(?:##+|[>*-]+)[ \t].*|\d+[.)][ \t].*|\*\*.*)$",
    re.MULTILINE,
)
LONGEST_PARSED = (
    20_000  # Characters. Python's parser is slow for longer texts, and may need much memory.
)
MOST_CUTS = 20  # Places that are tried as the end of a program, and programs between tags.
_DEEP = re.compile(r"[-~+(\[{]{60}|(?:(?:not|await|lambda:)\s*+){60}")


def find_code(text: str, defines: str = "") -> str | None:
    """Returns the program of a reply without its thoughts, or None.

    It is the last fenced block of Python that defines the required name, if a name is required and a block defines it;
    else the last block of Python. A block that was opened and never closed extends to the end. Without a block, it is
    the part of the reply that begins with code, up to the prose that follows.
    """
    answer = strip_thinking(text)
    if _FENCE.search(answer) is None and _FENCE.search(unquoted := _QUOTE.sub("", answer)):
        answer = unquoted
    blocks = [typed(code) for code in fenced_blocks(answer) if code.strip()]
    defining = re.compile(rf"\b(?:def|class)\s+{re.escape(defines)}\b|\b{re.escape(defines)}\s*=")
    wanted = [code for code in blocks if defines and defining.search(code)]
    return (wanted or blocks)[-1] if blocks else tagged(answer) or unfenced(typed(answer))


def typed(text: str) -> str:
    """Returns the lines that were typed at Python's prompt, `>>> def f():`, without it; a program stays."""
    if not _SESSION.search(text) or _INTRODUCED.search(text) or is_program(text):
        return text
    return "\n".join(match[1] or "" for match in _TYPED.finditer(text)) + "\n"


def fenced_blocks(text: str) -> list[str]:
    """Returns the blocks in fences that are marked as Python or unmarked, in order; indented blocks are dedented.

    If the prompt has opened the first block, its fence is missing: then the code before the first fence is a block.
    """
    blocks, paired = _blocks(text, 0)
    first = _FENCE.search(text)
    if paired or first is None or first[2] or not is_program(text[: first.start()]):
        return blocks
    return [text[: first.start()], *_blocks(text, first.end())[0]]


def _blocks(text: str, begin: int) -> tuple[list[str], bool]:
    """Returns the blocks after a place, and whether each fence that opens has one that closes.

    A block without a language after one with it is what the program prints, unless it is a program itself.
    """
    found, paired = _all_blocks(text, begin)
    marked = next((n for n, (language, _) in enumerate(found) if language), len(found))
    blocks = [
        code
        for n, (language, code) in enumerate(found)
        if n <= marked or language or is_program(code)
    ]
    return blocks, paired


def _all_blocks(text: str, begin: int) -> tuple[list[tuple[str, str]], bool]:
    """Returns the languages and the texts of the blocks after a place, and whether each fence closes."""
    blocks, fence, start, name, indent, paired = [], "", 0, None, "", True
    for match in _FENCE.finditer(text, begin):
        mark, language = match[1], match[2].lower()
        closes = bool(fence) and mark.startswith(fence) and not language
        if fence and (closes or language):
            code, whole = _until_late_close(text[start : match.start()])
            blocks += [(name, _dedent(code, indent))] * (name is not None)
            paired = paired and closes
            closes, fence = closes and whole, ""
        if (
            not fence and not closes
        ):  # Also if a new block starts although the last one was never closed.
            fence, start = mark, match.end() + 1
            name = language if _PYTHON.fullmatch(language) else None
            indent = _indent_of(text[match.start() : match.start(1)])
    if fence and name is not None:
        blocks.append((name, _dedent(_until_late_close(text[start:])[0], indent)))
    return blocks, paired and not fence


def _indent_of(before: str) -> str:
    """Returns the white space before a fence, or that of the lines below the item of a list that it begins."""
    return " " * len(before) if _ITEM.fullmatch(before) else before[: -len(before.lstrip()) or None]


def _until_late_close(code: str) -> tuple[str, bool]:
    """Returns the code before a fence that closes at the end of a line, if that is a program; and whether it is all."""
    close = _LATE_CLOSE.search(code)
    if close is None or parsed(code) is not None or parsed(code[: close.start()]) is None:
        return code, True
    return code[: close.start()] + "\n", False


def _dedent(code: str, indent: str) -> str:
    """Returns code without the indentation of its fence, for example in a list."""
    return re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) if indent else code


def tagged(answer: str) -> str | None:
    """Returns the last program between tags, `<code>` and `</code>`; None without one."""
    programs = [code.strip("\n") for *_, code in _TAGGED.findall(answer)][-MOST_CUTS:]
    return next((code for code in reversed(programs) if parsed(code) and is_program(code)), None)


def unfenced(answer: str) -> str | None:
    """Returns the program that a reply without fences begins with, or comes to after an introduction; else None."""
    code = _END.sub("", answer).strip("\n")
    if starts_code(_first_line(code)):
        return without_prose(code)
    begin = None if _BODY.match(code) else _INTRODUCED.search(code)
    if begin is None and not _BODY.match(code):  # An indented block is code in Markdown.
        code = re.sub(r"^ {4}", "", code, flags=re.MULTILINE)
        begin = _INTRODUCED.search(code)
    program = without_prose(code[begin.start() :]) if begin else ""
    return program if program and parsed(program) is not None else None


def _first_line(code: str) -> str:
    """Returns the first line that is neither blank nor a comment nor a part of the docstring."""
    begin = _BEFORE_CODE.match(code).end()
    return code[begin:].split("\n", 1)[0].rstrip()


def starts_code(line: str) -> bool:
    """Returns whether a line can be the first one of a program."""
    if _SURELY_CODE.match(line):
        return True
    if not _MAYBE_CODE.match(line):
        return False
    opened = len(re.findall(r"[(\[{]", line)) > len(re.findall(r"[)\]}]", line))
    tries = (line, f"{line}\n pass", f"{line}\n pass\nfinally: pass")
    return (
        opened
        or line.endswith("\\")
        or bool(re.search(r"\"\"\"|'''", line))
        or any(does_something(tree.body) for one in tries if (tree := parsed(one)))
    )


def without_prose(code: str) -> str:
    """Returns the program before the first line of prose, if it can be parsed and no code follows; else all of it."""
    if len(code) > LONGEST_PARSED or parsed(code) is not None:
        return code
    for line in islice(_PROSE.finditer(code), MOST_CUTS):
        before = code[: line.start()]
        if before.strip() and parsed(before) and not parsed(line[0].lstrip("#>*- \t")):
            # Code that follows belongs to the program: its error must not be cut off.
            rest = code[line.start() :].split("\n")
            return code if any(starts_code(one.strip()) for one in rest) else before
    return code


def is_program(text: str) -> bool:
    """Returns whether a text is code: it can be parsed, alone or as the body of a function, and does something."""
    if len(text) > LONGEST_PARSED or not text.strip():
        return False
    code = text.strip("\n")
    body = "\n".join(f"    {line}" for line in code.split("\n"))
    if tree := parsed(code):
        return does_something(tree.body)
    # The first line may have lost its indentation.
    tree = parsed(f"if 1:\n{body}\n") or parsed(f"if 1:\n    {code}\n")
    return tree is not None and does_something(tree.body[0].body + tree.body[1:])


def does_something(statements: list[ast.stmt]) -> bool:
    """Returns whether there are statements besides texts, words and annotations, which prose may look like."""
    return any(
        not isinstance(one, (ast.Expr, ast.AnnAssign))
        or isinstance(one.value, (ast.Call, ast.ListComp))
        or (isinstance(one, ast.AnnAssign) and one.value is not None)
        for one in statements
    )


def parsed(code: str) -> ast.Module | None:
    """Returns the tree of a program, or None if it has none, or is too long or too deep to be parsed safely."""
    if len(code) > LONGEST_PARSED or _DEEP.search(code):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
