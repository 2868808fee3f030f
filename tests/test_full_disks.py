"""No room while a stage writes: one message with the path, nothing half-written is read, and the same call goes on.

Whole files, lines, weights and checkpoints, each by the writer that all stages share.
"""

import dataclasses
import gc
import sys
import tempfile

import jax
import pytest
from full_disks import files_of_at_most
from tiny_models import make_architecture, make_model, random_params

from jaxreason import cli
from jaxreason.checkpoint import Checkpointer
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_export import save_model
from jaxreason.results.atomic_files import write_json
from jaxreason.results.jsonl import JsonlWriter, read_jsonl
from jaxreason.verbs import late_writes
from jaxreason.verbs.catalogue import VERBS
from jaxreason.verbs.endings import ADVICE, explain


def message_of(work, num_bytes):
    """What a user is told of `work` where files may have so many bytes."""
    with files_of_at_most(num_bytes), pytest.raises((OSError, ValueError)) as caught:
        work()
    message = explain(caught.value, None, ())
    assert message is not None and any(message.endswith(f"{x}.") for x in ADVICE.values())
    return message


def test_a_whole_file_and_a_line_are_named_by_their_path(tmp_path):
    path, lines = tmp_path / "scores.json", tmp_path / "metrics.jsonl"
    assert message_of(lambda: write_json(path, "x" * 100), 50).startswith(f"{path}: ")
    writer = JsonlWriter(lines)
    writer.write({"step": 1})
    assert message_of(lambda: writer.write({"step": 2, "text": "x" * 100}), 50).startswith(
        f"{lines}: "
    )
    del writer  # as the end of the process does
    again = JsonlWriter(lines, keep=lambda row: row["step"] == 1)
    again.write({"step": 2})
    again.close()
    assert read_jsonl(lines) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "num_bytes", [100, 5000]
)  # For Python's part of the library, and for Rust's.
def test_a_tokenizer_without_room_for_temporary_files_is_one_message_with_their_folder(
    tmp_path, monkeypatch, num_bytes
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    save = lambda: save_character_tokenizer(tmp_path / "own", map(chr, range(300, 900)))  # noqa: E731
    assert message_of(save, num_bytes).startswith(f"{tmp_path}/tmp")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def model(tmp_path):
    model = make_model(make_architecture())
    save_character_tokenizer(tmp_path / "tokenizer", "0123456789+=")
    return model, random_params(abstract_params(model))


def test_a_model_that_finds_no_room_is_no_folder_and_is_written_by_the_next_call(tmp_path, model):
    def save(name="model"):
        save_model(
            *(tmp_path / name, *model),
            tokenizer_from=tmp_path / "tokenizer",
            max_shard_bytes=1 << 30,
        )

    save("other")  # compiles what it needs: JAX's cache of programs is no file to be cut
    assert message_of(save, 1000).startswith(f"{tmp_path}/model.incomplete/model.safetensors: ")
    assert not (tmp_path / "model").exists()
    save()
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 1000
    assert not (tmp_path / "model.incomplete").exists()


def test_a_checkpoint_that_finds_no_room_is_one_message_and_the_one_before_is_used(tmp_path, capfd):
    state = {"params": {"w": jax.random.normal(jax.random.key(0), (300, 300))}}
    folder = tmp_path / "checkpoints"

    def save(step):
        with Checkpointer(folder, keep=0) as checkpoints:
            checkpoints.save(step, state)

    save(1)
    capfd.readouterr()
    assert message_of(lambda: save(2), 10_000).startswith(f"{folder}/2")
    shown = capfd.readouterr()
    assert (
        "SignalingThread" not in shown.out + shown.err
    )  # what the library's own threads say of it
    with Checkpointer(folder, keep=0) as checkpoints:
        assert checkpoints.latest_step() == 1
    save(2)
    with Checkpointer(folder, keep=0) as checkpoints:
        assert checkpoints.latest_step() == 2


def test_of_many_writes_that_find_no_room_the_program_tells_once(tmp_path, monkeypatch, capfd):
    folder = tmp_path / "checkpoints"
    state = {
        f"w{number}": jax.random.normal(jax.random.key(number), (90, 90)) for number in range(40)
    }

    def saves(_):
        with Checkpointer(folder, keep=0) as checkpoints:
            checkpoints.save(1, state)

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the program sets its own
    monkeypatch.setattr(
        sys, "unraisablehook", sys.__unraisablehook__
    )  # not pytest's, which keeps what is said
    late_writes.silence.cache_clear()
    monkeypatch.setitem(VERBS, "status", dataclasses.replace(VERBS["status"], run=saves))
    with files_of_at_most(10_000), pytest.raises(SystemExit):
        cli.main(["jaxreason", "status", str(tmp_path)])
    gc.collect()  # asyncio tells of errors when nothing holds them any longer
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"jaxreason status: {folder}/1")
