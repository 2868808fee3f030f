"""A chat template of any text renders, or is refused in one message; it reaches nothing and ends in time."""

import pytest
from fuzzing import FUZZ
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.data.template_process import render_all
from jaxreason.errors import UserError

PIECES = [
    "{{", "}}", "{%", "%}", "{#", "#}", "{%- ", " -%}", "{% for m in messages %}", "{% endfor %}", "{% if ",
    "{% endif %}", "{% else %}", "{% set x = ", "{% set ns = namespace(a=1) %}", "messages", "m.content",
    "m['role']", "[0]", "[-1:]", "|length", "|tojson", "|trim", "|join", "|map(attribute='__class__')",
    ".__class__", ".__mro__", ".__globals__", "|attr('__init__')", "self", "cycler", "lipsum", "joiner", "range(9)",
    "range(10**9)", "'a' * 99", "'a' * 10**9", "9**9**9", "()", "(", ")", "'", '"', "%", "~", "+", "-",
    "is defined", "in", "loop.index", "raise_exception('no')", "{% macro f(x) %}", "{% endmacro %}", "f(1)",
    "{% generation %}", "{% endgeneration %}", "{% include 'a' %}", "{% import 'os' as os %}", "{% extends 'b' %}",
    "{% break %}", "strftime_now('%Y')", "<|im_start|>", "\n", " ", "{{ messages }}", "{{ m.content }}", "{{ x }}",
    "add_generation_prompt",
]  # fmt: skip
TEMPLATES = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join)
CALL = {"messages": [{"role": "user", "content": "2+2?"}], "add_generation_prompt": True}


def test_a_template_of_any_text_renders_or_is_refused_in_one_message():
    @FUZZ
    @given(TEMPLATES)
    def check(template):
        try:
            (text,) = render_all(template, [CALL])
        except UserError as error:
            assert 0 < len(str(error)) <= 1000
            return
        assert isinstance(text, str)
        for inside in ("<class '", "<function ", "<module "):
            assert inside not in text or "self" in template or inside in template

    check()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_no_template_reaches_the_machine(template):
    with pytest.raises(UserError):
        render_all(template, [CALL])
