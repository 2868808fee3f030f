"""A model's folder comes from a stranger: its programs are not run, and its template gets little time and memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxreason.data import template_process
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError

ROOT = Path(__file__).parents[2]
EVIL = """
open({mark!r}, "w").close()
class Evil: pass
"""


def change(folder, name, **fields):
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def evil_folder(make_tokenizer, tmp_path, place):
    folder, mark = make_tokenizer("chatml"), tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    change(folder, "tokenizer_config.json", tokenizer_class=None if place == "config" else "Evil")
    maps = {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    if place == "config":
        change(folder, "config.json", model_type="evil", auto_map=maps)
    elif place == "list":
        change(folder, "tokenizer_config.json", auto_map=["evil.Evil", None])
    else:
        change(folder, "tokenizer_config.json", auto_map=maps)
    return folder, mark


@pytest.mark.parametrize("place", ["tokenizer", "config", "list"])
def test_a_tokenizer_that_needs_a_program_of_the_folder_is_refused_by_name(
    make_tokenizer, tmp_path, place
):
    folder, mark = evil_folder(make_tokenizer, tmp_path, place)
    with pytest.raises(ValueError, match=r"auto_map\.Auto.*evil.Evil.*never run"):
        load_tokenizer(folder)
    assert not mark.exists()


def test_nothing_of_the_folder_runs_whoever_answers_yes(make_tokenizer, tmp_path):
    folder, mark = evil_folder(make_tokenizer, tmp_path, "config")
    code = f"from jaxreason.data.tokenizer import load_tokenizer; load_tokenizer({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], input="y\n" * 100, text=True, capture_output=True, cwd=ROOT
    )
    assert "never run" in done.stderr and done.returncode == 1
    assert not mark.exists()


def test_a_class_of_transformers_itself_is_used_whatever_the_folder_offers(
    make_tokenizer, tmp_path
):
    folder, mark = make_tokenizer("chatml"), tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    expected = load_tokenizer(folder).encode("abc")
    change(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    assert load_tokenizer(folder).encode("abc") == expected
    assert not mark.exists()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "3 s"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
            "writes more than",
        ),
        ("{{ 'x' * 10**10 }}", "1024 MiB of memory"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
            "{% endfor %}{{ n.x }}",
            "1024 MiB of memory",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% for", "unexpected 'end of template'"),
    ],
)
def test_a_template_without_an_end_is_refused_when_it_is_loaded(make_tokenizer, template, reason):
    folder = make_tokenizer("chatml")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match=f"chat template: .*{reason}") as error:
        load_tokenizer(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_template_that_turns_bad_later_is_bounded_too_and_the_next_prompt_is_served(
    make_tokenizer,
):
    folder = make_tokenizer("chatml")
    path = folder / "chat_template.jinja"
    trap = "{% if messages | length == 3 %}{{ 'x' * 10**10 }}{% endif %}"
    path.write_text(trap + path.read_text())
    tokenizer, user = load_tokenizer(folder), {"role": "user", "content": "a"}
    before = tokenizer.encode_prompt([user], None)
    with pytest.raises(ValueError, match="of memory"):
        tokenizer.encode_prompt([user] * 3, None)
    assert tokenizer.encode_prompt([user], None) == before


def test_a_process_that_is_killed_is_started_again(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("chatml"))
    messages = [{"role": "user", "content": "a"}]
    before = tokenizer.encode_prompt(messages, None)
    process = template_process._PROCESS._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert tokenizer.encode_prompt(messages, None) == before


def test_a_request_that_was_interrupted_leaves_no_answer_for_the_next_one():
    slow = "{% for i in range(9999) %}{% for j in range(99) %}{% endfor %}{% endfor %}the first"
    assert template_process.render_all("{{ x }}", [{"x": "begun"}]) == ["begun"]
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            template_process.render_all(slow, [{}])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert template_process.render_all("{{ x }}", [{"x": "the second"}]) == ["the second"]


def test_the_process_ends_with_the_program_even_when_that_is_killed(make_tokenizer):
    code = (
        "import os, signal\n"
        "from jaxreason.data import template_process as t\n"
        "t.render_all('{{ x }}', [{'x': 1}])\n"
        "print(t._PROCESS._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    worker = Path(f"/proc/{int(done.stdout)}/cmdline")
    for _ in range(500):
        if not worker.exists() or b"template_worker" not in worker.read_bytes():
            return
        time.sleep(0.02)
    raise AssertionError("the process that renders outlives the program")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
        "tokenizer.model",
    ],
)
def test_a_pipe_in_the_place_of_any_file_of_a_tokenizer_is_refused_and_not_waited_for(
    make_tokenizer, name
):
    path = make_tokenizer("chatml") / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    folder = path.parents[name.count("/")]
    with pytest.raises(UserError, match=f"{name} is not a regular file"), at_most(60):
        load_tokenizer(folder)


@contextlib.contextmanager
def at_most(seconds):
    """Ends a wait for a pipe."""

    def end(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_of_several_chat_templates_the_default_is_taken_and_one_must_be(make_tokenizer):
    folder = make_tokenizer("chatml")
    template = (folder / "chat_template.jinja").read_text()
    user = [{"role": "user", "content": "hi"}]
    expected = load_tokenizer(folder).encode_prompt(user, None)
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tools", "template": "{{ 1 }}"}, {"name": "default", "template": template}]
    change(folder, "tokenizer_config.json", chat_template=named)
    assert load_tokenizer(folder).encode_prompt(user, None) == expected
    change(folder, "tokenizer_config.json", chat_template=named[:1])
    with pytest.raises(UserError, match="of the chat templates tools none is called 'default'"):
        load_tokenizer(folder)
