"""Keys and tokens are in no log, no message and no file that a run writes."""

import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from etils import epath
from program import call

from jaxreason.config import to_dict
from jaxreason.distill.distill_config import TeacherConfig
from jaxreason.distill.endpoint import endpoint_key
from jaxreason.recipes import load_recipe
from jaxreason.results.redaction import Redaction, begin, hide
from jaxreason.studies.manifest import write_study

ROOT = Path(__file__).parents[2]
SECRETS = {
    "HF_TOKEN": "hf_aaaabbbbcccc",
    "WANDB_API_KEY": "wandb-0123456789",
    "TEACHER_KEY": "sk-teacher-42",
    "DB_PASSWORD": "correct horse",
}
SHOWN = {"JAX_PLATFORMS": "cpu_not_hidden", "SHORT_KEY": "abc"}


@pytest.mark.parametrize("secret", SECRETS.values())
def test_a_secret_of_the_environment_is_hidden(secret):
    hide = Redaction((), SECRETS | SHOWN)
    assert hide(f"refused: {secret} is no key ({secret})") == "refused: *** is no key (***)"


def test_what_is_no_secret_is_shown():
    hide = Redaction(("sft", "--config.serve.api_key=", "--workdir", "runs/abc"), SECRETS | SHOWN)
    text = "cpu_not_hidden abc runs/abc https://host/v1 user@host"
    assert hide(text) == text


@pytest.mark.parametrize(
    "words", [("--config.serve.api_key=sk-mine",), ("--config.serve.api_key", "sk-mine")]
)
def test_a_key_of_the_command_line_is_hidden(words):
    assert Redaction(words, {})(f"jaxreason serve {' '.join(words)}").count("sk-mine") == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--config.model.path=monkey", "--workdir", "runs/abc"), "monkey --workdir runs/abc"),
        (("--config.serve.api_key", "--workdir", "runs/abc"), "--workdir runs/abc"),
        (("--config.distill.teacher.key_variable=MY_TEACHER",), "MY_TEACHER"),
    ],
)
def test_what_only_looks_like_a_key_on_the_command_line_is_shown(words, text):
    assert Redaction(words, {})(text) == text


@pytest.mark.parametrize("user", ["me:pass", "me:p@ss", "token"])
def test_user_and_password_of_an_address_are_hidden(user):
    assert Redaction((), {})(f"GET https://{user}@host/v1") == "GET https://***@host/v1"


def test_an_address_without_a_user_is_shown():
    text = 'https://host/v1?mail=a@b "https://host","me@host"'
    assert Redaction((), {})(text) == text


@pytest.mark.parametrize("write", [str, repr, json.dumps, urllib.parse.quote_plus])
def test_a_secret_is_hidden_however_it_is_written(write):
    secret = 'sk+a/b="c\\d"'
    said = Redaction((), {"MY_KEY": secret + "\n"})(f"key {write(secret)}.")
    assert "c" not in said and "***" in said


@pytest.mark.parametrize("write", [urllib.parse.quote, urllib.parse.quote_plus])
def test_a_secret_with_slashes_and_blanks_is_hidden_in_every_form_of_an_address(write):
    secret = "wJalr/K7MDENG+b Px"
    text = f"s3://bucket/{write(secret)}?x=1"
    assert Redaction((), {"AWS_SECRET_KEY": secret})(text) == "s3://bucket/***?x=1"


def test_the_key_of_a_variable_of_any_name_is_hidden_once_it_is_used(monkeypatch):
    monkeypatch.setenv("MY_TEACHER", "the-teachers-own")
    begin(())
    assert hide("the-teachers-own") == "the-teachers-own"
    endpoint_key(TeacherConfig(key_variable="MY_TEACHER", url="http://host/v1", name="a", path=""))
    assert hide("refused: the-teachers-own") == "refused: ***"


def test_standard_error_and_the_traceback_of_our_own_faults_hide_secrets(tmp_path):
    program = (
        "import logging, sys\n"
        "from jaxreason import cli\n"
        "from jaxreason.runtime import distributed\n"
        "def run_show(call):\n"
        "    distributed.show_messages()\n"
        "    logging.getLogger('jaxreason').error('asked with %s', call.paths[0])\n"
        "    call.tell(f'told {call.paths[0]}')\n"
        "    raise RuntimeError(f'no {call.paths[0]}')\n"
        "verb = cli.VERBS['show']\n"
        "object.__setattr__(verb, 'run', run_show)\n"
        "cli.main(['jaxreason', 'show', 'hf_of_somebody'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"HF_TOKEN": "hf_of_somebody", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == "told ***\n"
    assert "asked with ***\n" in done.stderr and "RuntimeError: no ***\n" in done.stderr
    assert "Traceback" in done.stderr and "hf_of_somebody" not in done.stdout + done.stderr


def test_the_recipe_in_a_studys_folder_has_no_key_of_the_command_line(tmp_path, monkeypatch):
    config = load_recipe(str(ROOT / "configs/study_tiny.py"))
    config.serve.api_key = "sk-on-the-command-line"
    monkeypatch.setenv("MY_KEY", "greedy")
    begin(())
    write_study(config, config, epath.Path(tmp_path))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["serve"].pop("api_key") == "***"
    recipe = json.loads(json.dumps(to_dict(config)))
    del recipe["serve"]["api_key"]
    assert written == recipe  # and nothing else, though a variable may hold any word


def test_no_file_and_no_message_of_a_run_holds_a_secret(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    rows = [
        {"question": f"{n}+{n}", "answer": str(2 * n), "solution": f"#{2 * n}"} for n in range(9)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = ("--model", ROOT / "configs/tiny_base", "--data", "mine.jsonl", "--target", "mine.py")
    assert call("init", *base) == 0
    key = ("--config.serve.api_key=sk-on-the-command-line",)
    trained = ("--config.sft.epochs=1.0", "--config.sft.checkpoint_every=0")
    assert call("sft", "--config", "mine.py", *key, *trained, "--workdir", "run") == 0
    wrong = (f"--config.model.path={SECRETS['HF_TOKEN']}",)
    assert call("eval", "--config", "mine.py", *key, *wrong, "--workdir", "run") == 2
    said = capsys.readouterr()
    texts = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert Path("run/log.txt") in texts and Path("run/model/README.md") in texts
    assert b"--config.serve.api_key=***" in texts[Path("run/log.txt")]
    secrets = [*SECRETS.values(), "sk-on-the-command-line"]
    assert [str(p) for p, data in texts.items() for s in secrets if s.encode() in data] == []
    assert [s for s in secrets if s in said.out + said.err] == []
