"""Which part of a reply is the program."""

import time

import pytest

from jaxreason.tasks.code_extraction import fenced_blocks, find_code

DEFINES = "def f(x):\n    return x\n"
MISSING_FENCES = [
    (DEFINES + "```\nExplanation", DEFINES),
    ("    return x\n```\nThis works.", "    return x\n"),
    (
        "print(sum(map(int, input().split())))\n```\nDone.",
        "print(sum(map(int, input().split())))\n",
    ),
    (
        "if x:\n        return 1\n    return 0\n```\nDone.",
        "if x:\n        return 1\n    return 0\n",
    ),
    (DEFINES + "```\nUse:\n```python\nprint(f(3))\n```", DEFINES),
    (DEFINES + "```\nUse:\n```\nprint(f(3))\n```\n", DEFINES),
    ("n = 3\n```\nprint(n)\n```", "print(n)\n"),
    ("Here is\n```\nx = 1", "x = 1"),
    ("Answer\n```\nx = 1", "x = 1"),
    ("Answer: x\n```\nx = 1", "x = 1"),
    ("<think>def f(x): pass\n```\n</think>" + DEFINES + "```\nok", DEFINES),
]
UNFENCED = [
    (
        "print(5)\n# Now the loop over all\nfor i in range(3):\n    print(i",
        "print(5)\n# Now the loop over all\nfor i in range(3):\n    print(i",
    ),
    (
        "x = 1\n# Now print it for all\nprint(x) for all",
        "x = 1\n# Now print it for all\nprint(x) for all",
    ),
    (DEFINES + "\nTime complexity = O(n)\nf(x) returns x.", DEFINES + "\n"),
    ("# add one\n" + DEFINES, "# add one\ndef f(x):\n    return x"),
    ('"""Adds."""\nimport sys\nprint(1)', '"""Adds."""\nimport sys\nprint(1)'),
    ("async def f(x):\n    return x", "async def f(x):\n    return x"),
    (
        "try:\n    x = 1\nexcept ValueError:\n    pass",
        "try:\n    x = 1\nexcept ValueError:\n    pass",
    ),
    ("with open(0) as g:\n    print(g.read())", "with open(0) as g:\n    print(g.read())"),
    ("x: int = 3\nprint(x)", "x: int = 3\nprint(x)"),
    ("sys.stdout.write('1')", "sys.stdout.write('1')"),
    ("input()\nprint(1)", "input()\nprint(1)"),
    ("x = 5 is the answer", None),
    ("The answer = 5 apples", None),
    ("x = 5", "x = 5"),
    ("x = [\n 1,\n]", "x = [\n 1,\n]"),
    (DEFINES + "\nThis function returns x.", DEFINES + "\n"),
    (DEFINES + "\nExplanation: it returns x.\n\nIt's O(1).", DEFINES + "\n"),
    (DEFINES + "\n### Explanation\n\nIt returns x.", DEFINES + "\n### Explanation\n\n"),
    (DEFINES + "\n- It returns x.", DEFINES + "\n"),
    (
        "def f(x):\n    '''\n    Doc\nThis is odd text\n    '''\n    return x\n\nThis function returns x.",
        "def f(x):\n    '''\n    Doc\nThis is odd text\n    '''\n    return x\n\n",
    ),
    (DEFINES + "\n# a comment\ndef g(:\n    pass", DEFINES + "\n# a comment\ndef g(:\n    pass"),
    (DEFINES + "print(f(3)", DEFINES + "print(f(3)"),
    ("Here is the program:\n\n" + DEFINES, "def f(x):\n    return x"),
    ("Sure! Here is the program:\n\n" + DEFINES + "\nThis works since x is x.", DEFINES + "\n"),
    ("Import the module and run it.", None),
    ("import is a keyword", "import is a keyword"),
    ("We import numpy as np", None),
    ("# Solution\n\nThe answer is 5.", None),
    ("# Solution\n\nx = 5 apples", None),
    ("try: to be nice", None),
    ("if you want: yes", None),
    ("for example in this case: 5", None),
    ("answer(5) is it", None),
    ("The answer is 5.", None),
    ("", None),
    ("return x", None),
    ("    return x + 1\n\ndef g():\n    pass", None),
    ("return x + 1\n\ndef g():\n    pass", None),
    ("A = 5\nB = 6\nprint(A + B)\nThe result is 11.", "A = 5\nB = 6\nprint(A + B)\n"),
    ("x = y = z", "x = y = z"),
    ("E = mc^2", "E = mc^2"),
]
FENCES = [
    ("```ipython\nx = 1\n```", "x = 1\n"),
    ("```python2\nx = 1\n```", "x = 1\n"),
    ("```.py\nx = 1\n```", "x = 1\n"),
    ("```code\nx = 1\n```", "x = 1\n"),
    ("```python-3\nx = 1\n```", "x = 1\n"),
    ("```python3.11\nx = 1\n```", "x = 1\n"),
    ("```pycon\n>>> x\n```", None),
    ("```pytb\nx\n```", None),
    ("```text\nx\n```", None),
    ("```python\nprint(1)```\nDone.", "print(1)\n"),
    ("```python\nprint(1)```", "print(1)\n"),
    ("```python\nprint(1)```\nOutput:\n```\n1\n```", "print(1)\n"),
    ("```python\ndef f(x):\n    return x```\nUse:\n```\nf(1)\n```", DEFINES),
    ("```python\nx = 1", "x = 1"),
    ("```\n```", None),
    ("Answer:```python\nx = 1\n```", "x = 1\n"),
    ("**Solution:** ```py\nx = 1\n```", "x = 1\n"),
    ("```python\nx = 'a:```'\n```", "x = 'a:```'\n"),
]
TAGGED = [
    ("[PYTHON]\n" + DEFINES + "[/PYTHON]", DEFINES.strip()),
    ("[BEGIN]\n" + DEFINES + "[DONE]\nText", DEFINES.strip()),
    ("<code>\n" + DEFINES + "</code>", DEFINES.strip()),
    ("It is short.\n\n<answer>\n" + DEFINES + "</answer>", DEFINES.strip()),
    ("<answer>\n```python\n" + DEFINES + "```\n</answer>", DEFINES),
    ("<code>\n" + DEFINES, DEFINES.strip()),
    (DEFINES + "</s>", DEFINES.strip()),
    (DEFINES + "<|endoftext|>", DEFINES.strip()),
    ("<answer>It is 5.</answer>", None),
    ("print('<code>')\nprint(1)", "print('<code>')\nprint(1)"),
]
HOSTILE = [
    "(", "x=", "a = 1\n", "The end of\n", "# a\n", "```\n", "```python\n", "x```\n", "'''", "def f(x):\n", "not ", "-",
    "A b\n", "    x\n", "a.", "x[", "[[]", "try:\n", "if a:\n ", "```\nx\n", "lambda:", "f'{", "{a:",
    "<code>", "<code>x = 1</code>", "a:```python", "</s>",
]  # fmt: skip


@pytest.mark.parametrize(("reply", "program"), MISSING_FENCES)
def test_code_before_a_fence_that_only_closes_is_the_program(reply, program):
    assert find_code(reply, "f") == program


@pytest.mark.parametrize(("reply", "program"), UNFENCED)
def test_a_reply_without_fences_is_a_program_up_to_its_prose(reply, program):
    assert find_code(reply, "f") == program


@pytest.mark.parametrize(("reply", "program"), FENCES)
def test_fences_are_read_under_all_names_of_python_and_may_close_late(reply, program):
    assert find_code(reply, "f") == program


@pytest.mark.parametrize(("reply", "program"), TAGGED)
def test_a_program_may_stand_between_tags_and_before_a_sign_that_ends_the_reply(reply, program):
    assert find_code(reply, "f") == program


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("lead", ["", "x = 1\n", "```python\n", "a = ("])
def test_text_that_is_hard_to_parse_takes_no_time_and_raises_nothing(unit, lead):
    start = time.monotonic()
    for length in (15_000, 100_000):
        find_code((lead + unit * length)[:length], "f")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "text, found",
    [
        ("```python\nx = 1\n```\nthen\n```\nx = 2\n```", "x = 2\n"),
        ("```py\nx = 1\n```\noutput:\n```text\n1\n```", "x = 1\n"),
        ("```cpp\nint x;\n```", None),
        ("~~~python\nx = 1\n~~~", "x = 1\n"),
        ("1. so:\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1\n"),
        ("```python\nx = 1\nprint(x)", "x = 1\nprint(x)"),
        ("```Python3 title\nx = 1\n```", "x = 1\n"),
        ("<think>```python\nx = 0\n```</think>```python\nx = 1\n```", "x = 1\n"),
        ("<think>```python\nx = 0\n```", None),
        ("import sys\nprint(1)", "import sys\nprint(1)"),
        ("n = int(input())\nprint(n)", "n = int(input())\nprint(n)"),
        ("The answer is 5.", None),
        ("", None),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("```python\r\nx = 1\r\n```", "x = 1\r\n"),
    ],
)
def test_the_program_of_a_reply_is_its_last_block_of_python(text, found):
    assert find_code(text) == found


def test_a_block_that_shows_how_to_use_a_function_is_not_taken_for_it():
    text = "```python\ndef f(n): return n\n```\nUse:\n```python\nprint(f(3))\n```"
    assert find_code(text, defines="f") == "def f(n): return n\n"
    assert find_code(text) == "print(f(3))\n"


QUOTED = [
    ("Here:\n> ```python\n> def f(x):\n>     return x\n> ```\n", DEFINES),
    (">```\n>def f(x):\n>     return x\n>```\n", DEFINES),
    ("> > ```python\n> > def f(x):\n> >     return x\n> > ```\n", DEFINES),
    ("> The task.\n\n```python\n" + DEFINES + "```", DEFINES),
    (">>> def f(x):\n...     return x\n...\n>>> f(3)\n3\n", DEFINES + "\nf(3)\n"),
    ("```python\n>>> def f(x):\n...     return x\n>>> f(3)\n3\n```\n", DEFINES + "f(3)\n"),
    ("- ```python\n  def f(x):\n      return x\n  ```", DEFINES),
    ("1. ```python\n   def f(x):\n       return x\n   ```", DEFINES),
    ("Answer:\n\n    def f(x):\n        return x\n", DEFINES.strip()),
    ('<pre><code class="language-python">\n' + DEFINES + "</code></pre>", DEFINES.strip()),
    ("```python\n" + DEFINES + "```\nOutput:\n```\n3\n```", DEFINES),
    ("```python\n" + DEFINES + "```\nOutput:\n```\n1 2 3\n```", DEFINES),
    ("```python\nx = 1\n```\nBetter:\n```\n" + DEFINES + "```", DEFINES),
]


@pytest.mark.parametrize(("reply", "program"), QUOTED)
def test_programs_in_quotes_lists_and_at_pythons_prompt_are_read_and_output_is_none(reply, program):
    assert find_code(reply, "f").strip() == program.strip()
    assert find_code(reply).strip() == program.strip()


def test_a_long_text_of_fences_is_read_in_linear_time():
    assert len(fenced_blocks("```python\nx\n```\n" * 50_000)) == 50_000
    assert find_code("`" * 1_000_000) is None
