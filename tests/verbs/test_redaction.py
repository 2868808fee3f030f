"""Keys and tokens are in no log, no message and no file that a run writes."""

import json
from pathlib import Path

import pytest
from program import call

from jaxreason.verbs.redaction import Redaction

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


def test_user_and_password_of_an_address_are_hidden():
    assert Redaction((), {})("GET https://me:pass@host/v1") == "GET https://***@host/v1"


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
