"""What a user can cause is one message with what, where and what to do; anything else keeps its traceback."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import jax.numpy as jnp
import pytest
from huggingface_hub import errors as hub_errors
from program import call, refused

from jaxreason.data.rows import DatasetConfig
from jaxreason.data.sources import SOURCES
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError, exit_code
from jaxreason.verbs.catalogue import VERBS
from jaxreason.verbs.endings import ADVICE, explain

ROOT = Path(__file__).parents[2]
TINY = ("--config", str(ROOT / "configs/study_tiny.py"))
WITH_RECIPE = [name for name, verb in VERBS.items() if verb.sections]
NEEDS = {
    "drift": ("--tuned", "x", "--base-evaluation", "x", "--tuned-evaluation", "x"),
    "convert": ("--source", "x", "--target", "y"),
    "plan": ("--slice", "h100"),
}
RECIPES = {
    "def get_config():\n    pass\n": "get_config() has to return a ml_collections.ConfigDict, it returned None",
    "def get_config(:\n": "line 1: the recipe is not valid Python",
    "import ml_collections\n\n\ndef get_config():\n    return {}['x']\n": "line 5: the recipe raised KeyError: 'x'",
    "import nothing_of_this_name\n": "line 1: the recipe raised ModuleNotFoundError",
    "import sys\n\nsys.exit('bye')\n": "line 3: the recipe raised SystemExit: bye",
    "x = 1\n": "a recipe defines get_config(), this file does not",
    b"x = '\xff'\n": "the recipe is not valid Python",
    "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({'sedd': 1})\n": "config.sedd",
}


def words(verb, *more):
    workdir = ("--workdir", "run") if verb not in ("convert", "chat", "serve", "check") else ()
    return (verb, *more, *NEEDS.get(verb, ()), *workdir)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", WITH_RECIPE)
@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_that_is_none_is_named_with_its_line_by_every_verb(verb, text, capsys):
    Path("mine.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused(capsys, *words(verb, "--config", "mine.py"))
    assert RECIPES[text] in message and not Path("run").exists()
    assert "mine.py" in message or "config.sedd" in message


@pytest.mark.parametrize("verb", WITH_RECIPE)
def test_a_folder_in_place_of_a_recipe_and_a_number_without_bounds_are_refused_by_every_verb(
    verb, capsys
):
    Path("folder").mkdir()
    message = refused(capsys, *words(verb, "--config", "folder"))
    assert "folder: expected a Python file with get_config()" in message
    Path("rows.jsonl").write_text('{"a": 1}')
    message = refused(capsys, *words(verb, "--config", "rows.jsonl"))
    assert "rows.jsonl: expected a Python file with get_config(), is no .py file" in message
    message = refused(capsys, *words(verb, "--config="))
    assert "--config: expected a Python file with get_config(), got nothing" in message
    message = refused(capsys, *words(verb, *TINY, "--config.sft.epochs=1e400"))
    assert "config.sft.epochs: expected a finite number, got inf" in message


@pytest.mark.parametrize("text", ["\u00b2", "9" * 5000, "1e3", "-1"])
def test_a_flag_that_takes_a_number_says_so_of_any_other_text(text, capsys):
    Path("folder").mkdir()
    for words in (
        ("convert", *TINY, "--source", "folder", "--target", "y", f"--step={text}"),
        ("show", "folder", f"--replies={text}"),
        ("status", "folder", f"--steps={text}"),
    ):
        message = refused(capsys, *words)
        assert message.startswith(f"jaxreason {words[0]}: {words[-1]}: expected ")


@pytest.mark.parametrize("verb", ["sft", "surgery", "show"])
def test_a_word_that_is_no_text_is_refused_before_anything_is_written(verb, capsys):
    more = {"sft": words(*("sft", *TINY)), "show": ("show",)}
    pair = ("surgery", "--base", "x", "--tuned", "y", "--change", "interpolate", "--target", "z")
    message = refused(capsys, *more.get(verb, pair), os.fsdecode(b"bad\xff"))
    assert "'bad\\udcff' is not UTF-8" in message and "LC_ALL=C.UTF-8" in message
    assert not list(Path().iterdir())


def test_a_current_folder_that_is_no_text_is_refused(capsys, monkeypatch):
    os.mkdir(b"bad\xff")
    monkeypatch.chdir(os.fsdecode(b"bad\xff"))
    assert "bad\\udcff' is not UTF-8" in refused(capsys, *words(*("sft", *TINY)))


@pytest.mark.parametrize("section", ["model", "mesh", "eval", "drift", "transfer", "report"])
def test_a_study_names_the_section_that_its_recipe_lacks(section, capsys):
    Path("mine.py").write_text(
        "from configs import study_tiny\n\n\ndef get_config():\n    config = study_tiny.get_config()\n"
        f"    del config.{section}\n    return config\n"
    )
    for more in ((), ("--dry-run",)):
        message = refused(capsys, *words("study", "--config", "mine.py", *more))
        assert f"config.{section}: this recipe has no such section" in message
    assert not Path("run").exists()


@pytest.mark.parametrize("number", sorted(ADVICE))
def test_an_error_of_the_system_says_what_where_and_what_to_do(number, capsys, monkeypatch):
    def fails(_):
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setitem(VERBS, "eval", dataclasses.replace(VERBS["eval"], run=fails))
    message = refused(capsys, *words("eval", *TINY))
    assert message == f"jaxreason eval: some/file: {os.strerror(number)}; {ADVICE[number]}.\n"


def test_where_nothing_temporary_can_be_written_the_message_names_the_variable(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    with pytest.raises(FileNotFoundError) as found:
        tempfile.gettempdir()
    message = explain(found.value, None, ())
    assert message.startswith("No usable temporary directory found in")
    assert message.endswith("; let the variable TMPDIR name a folder that this user can write.")


def test_a_disk_that_is_full_when_a_checkpoint_is_written_is_one_message(capsys, monkeypatch):
    def fails(_):
        raise ValueError(
            'RESOURCE_EXHAUSTED: Error writing "x" in OCDBT database at local file "run/checkpoints/2/": Failed '
            "to write 64802 bytes to file 11: No space left on device [os_error_code='28']"
        )

    monkeypatch.setitem(VERBS, "eval", dataclasses.replace(VERBS["eval"], run=fails))
    message = refused(capsys, *words("eval", *TINY))
    expected = f"run/checkpoints/2/: {os.strerror(errno.ENOSPC)}; {ADVICE[errno.ENOSPC]}."
    assert message == f"jaxreason eval: {expected}\n"


def fails_in_a_product(_):
    return jnp.ones((2, 3)) @ jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("run", "error"),
    [(fails_in_a_product, TypeError), (lambda call: {}["x"], KeyError)],
)
def test_other_errors_keep_their_traceback_and_the_log_has_it(run, error, monkeypatch):
    Path("run").mkdir()
    monkeypatch.setitem(VERBS, "eval", dataclasses.replace(VERBS["eval"], run=run))
    with pytest.raises(error):
        call(*words("eval", *TINY))
    log = Path("run/log.txt").read_text()
    assert "COMMAND jaxreason eval" in log and "Traceback" in log and error.__name__ in log


def test_the_log_has_the_traceback_of_a_users_error_too_and_no_folder_is_made_for_it(
    capsys, monkeypatch
):
    def fails(_):
        raise OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl")

    monkeypatch.setitem(VERBS, "eval", dataclasses.replace(VERBS["eval"], run=fails))
    refused(capsys, *words("eval", *TINY))
    assert not Path("run").exists()
    Path("run").mkdir()
    refused(capsys, *words("eval", *TINY))
    assert "in fails" in Path("run/log.txt").read_text()


PROGRAM = f"{sys.executable} -m jaxreason"
LETTERS = "from jaxreason import cli; cli._informed = lambda words: not print(*words); cli.main(['', '\u2212 1'])"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_output_is_no_error(closed):
    done = subprocess.run(
        f"{PROGRAM} --version {closed}", shell=True, capture_output=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"" if ">&-" in closed.split() else b"jaxreason 0.1.0\n")


@pytest.fixture
def runs(tmp_path):
    """The folders of a run that has failed and of one with much to show."""
    failed, much = tmp_path / "failed", tmp_path / "much" / "samples"
    failed.mkdir()
    much.mkdir(parents=True)
    status = dict.fromkeys(("verb", "run", "error", "host"), "x") | {"process": 1, "every": 15.0}
    status |= {"started": 1.0, "updated": 1.0, "spent": {}, "device": {}, "state": "failed"}
    (failed / "status.json").write_text(json.dumps(status))
    line = {"id": "a", "sample": 0, "prompt": "?" * 300, "completion": "!" * 300}
    (much / "add.own.greedy.jsonl").write_text(f"{json.dumps(line)}\n" * 50)
    key = {"benchmark": "add", "prompt": "own", "decoding": "greedy"}
    (much / "add.own.greedy.head.json").write_text(json.dumps(key))
    return tmp_path


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", ["--help", "status failed", "show much --replies 50"])
def test_an_output_without_room_is_one_message_and_one_that_nobody_reads_is_none(
    runs, line, unbuffered
):
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}

    def told(output):
        command = [sys.executable, "-m", "jaxreason", *line.split()]
        return subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=runs, env=env
        )

    with open("/dev/full", "w") as full:
        done = told(full)
    assert done.returncode == 2 and done.stderr.startswith("jaxreason")
    assert done.stderr.endswith(f"No space left on device; {ADVICE[errno.ENOSPC]}.\n")
    assert done.stderr.count("\n") == 1
    assert "standard output: " in done.stderr or line != "--help"  # a verb's print does not know it
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        done = told(gone)
    assert (done.returncode, done.stderr) == (141, "")


def test_letters_that_the_terminal_does_not_have_are_escaped():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", LETTERS], capture_output=True, cwd=ROOT, env=env)
    assert b"UnicodeEncodeError" not in done.stderr and done.stdout == b"\\u2212 1\n"


@pytest.mark.parametrize("verb", ["show", "status"])
def test_a_name_with_line_breaks_or_a_terminals_codes_is_escaped_in_the_one_line(verb, capsys):
    message = refused(capsys, verb, "run\nname\x1b[31m")
    assert "run\\nname\\x1b[31m" in message
    assert message.count("\n") == 1 and "\x1b" not in message


def test_ctrl_c_ends_without_a_traceback(capsys, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "chat", dataclasses.replace(VERBS["chat"], run=stopped))
    assert call("chat", *TINY) == 130
    assert capsys.readouterr().err == "jaxreason chat: interrupted.\n"


def test_ctrl_c_while_python_ends_leaves_no_traceback():
    code = """import atexit, os, signal
from jaxreason.__main__ import main
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()"""
    result = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (-signal.SIGINT, "")


def test_a_reader_that_goes_away_is_no_error():
    code = "from jaxreason.__main__ import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, "--help"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(120) == 141
    assert error == b""


class AnsweredError(OSError):
    """An answer that is none, as the hub's client raises it."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (ConnectionError("no route"), 1),
        (TimeoutError("timed out"), 1),
        (AnsweredError(503), 1),
        (AnsweredError(429), 1),
        (AnsweredError(404), 2),
        (AnsweredError(401), 2),
        (hub_errors.OfflineModeIsEnabled("HF_HUB_OFFLINE=1"), 2),
    ],
)
@pytest.mark.parametrize("hidden", [True, False])
def test_a_hub_that_cannot_be_reached_is_asked_again_by_launchers_and_a_wrong_name_is_not(
    hidden, cause, code, monkeypatch, capsys
):
    def download(*_, **__):
        if hidden:  # Behind a missing entry of the cache, as the client has it.
            raise hub_errors.LocalEntryNotFoundError("not in the cache") from cause
        raise cause

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert call("chat", *TINY, "--config.model.path=owner/name") == code
    said = capsys.readouterr().err
    assert "\njaxreason chat: the model 'owner/name': " in said and "Traceback" not in said
    with pytest.raises(UserError, match="owner/name: no such folder here") as told:
        load_tokenizer("owner/name")
    assert exit_code(told.value) == code
    monkeypatch.setattr(datasets, "load_dataset", download)
    with pytest.raises(UserError, match="huggingface:owner/name:train: ") as told:
        list(SOURCES["huggingface"](DatasetConfig("huggingface", "owner/name", "train", fields={})))
    assert exit_code(told.value) == code
