"""The program in a reply: its fenced block, or the reply itself where it is code."""

import re

from jaxreason.tasks.replies import strip_thinking

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
_PYTHON = ("python", "python3", "py", "py3", "")
_STARTS_CODE = re.compile(
    r"(?:from\s+[\w.]+\s+import\b|import\s+\w|def\s+\w+\s*\(|class\s+\w+\s*[:(]|@\w|#!|"
    r"[A-Za-z_][\w, ]*=|print\(|for\s+\w[\w, ]*\s+in\b.*:$|while\b.*:$|if\b.*:$)"
)


def find_code(text: str, defines: str = "") -> str | None:
    """The program of a reply without its thoughts, or None.

    The last fenced block of Python that defines the name, if one is asked for and any does; else the
    last block of Python. A block that was opened and not closed reaches to the end. Without a block
    the whole reply, if its first line is code.
    """
    answer = strip_thinking(text)
    blocks = [code for code in fenced_blocks(answer) if code.strip()]
    defining = re.compile(rf"\b(?:def|class)\s+{re.escape(defines)}\b|\b{re.escape(defines)}\s*=")
    wanted = [code for code in blocks if defines and defining.search(code)]
    if wanted or blocks:
        return (wanted or blocks)[-1]
    first = answer.strip().split("\n", 1)[0].rstrip()
    return answer.strip("\n") if _STARTS_CODE.match(first) else None


def fenced_blocks(text: str) -> list[str]:
    """What stands in fences marked as Python or not at all, in their order; indented ones dedented."""
    blocks, fence, start, is_python, indent = [], "", 0, False, ""
    for match in _FENCE.finditer(text):
        mark, language = match[1], match[2].lower()
        if not fence:
            fence, start, is_python = mark, match.end() + 1, language in _PYTHON
            indent = match[0][: len(match[0]) - len(match[0].lstrip())]
        elif mark.startswith(fence) and not language:
            blocks += [_dedent(text[start : match.start()], indent)] * is_python
            fence = ""
        elif language:  # a new one begins where the last was never closed
            blocks += [_dedent(text[start : match.start()], indent)] * is_python
            fence, start, is_python = mark, match.end() + 1, language in _PYTHON
    if fence and is_python:
        blocks.append(_dedent(text[start:], indent))
    return blocks


def _dedent(code: str, indent: str) -> str:
    """Without the space that the fence itself stands behind, as in a list."""
    return re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) if indent else code
