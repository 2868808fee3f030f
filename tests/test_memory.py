"""Running out of memory names the fields to change, with values that the recipe can take."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from program import call

from jaxreason import cli, memory
from jaxreason.compiling import Compiling
from jaxreason.memory import GIB, out_of_memory_message, room
from jaxreason.recipes import load_recipe
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.verbs.catalogue import VERBS

ROOT = Path(__file__).parent.parent
ERROR = "RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes.\nat somewhere"


def test_a_training_section_is_told_to_cut_its_batch_and_to_recompute():
    config = load_recipe(str(ROOT / "configs/study_tiny.py"))
    config.sft.micro_batch_rows = 24
    text = out_of_memory_message(config, ("sft",), ERROR)
    assert "out of memory: RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes." in text
    assert "--config.sft.micro_batch_rows=12  (now 24)" in text
    assert "--config.model.remat=full  (now none)" in text
    assert "at somewhere" not in text


def test_sampling_sections_are_told_to_use_fewer_slots_and_others_are_left_alone():
    config = load_recipe(str(ROOT / "configs/study_tiny.py"))
    config.rl.sampler.slots, config.rl.micro_batch_rows, config.model.remat = 512, 1, "full"
    text = out_of_memory_message(config, ("rl",), ERROR)
    assert "--config.rl.sampler.slots=256  (now 512)" in text
    assert "micro_batch_rows" not in text and "model.remat" not in text and "sft" not in text


def test_an_evaluation_is_told_to_score_fewer_tokens_at_a_time():
    config = load_recipe(str(ROOT / "configs/study_tiny.py"))
    config.eval.sampler.score_tokens = 4096
    text = out_of_memory_message(config, ("eval",), ERROR)
    assert "--config.eval.sampler.score_tokens=2048  (now 4096)" in text


def test_a_run_that_does_not_fit_says_so_without_a_traceback(tmp_path, monkeypatch, capsys):
    # more than any machine can address, so that the allocator itself refuses it
    too_much = lambda *_: jax.block_until_ready(jnp.zeros(1 << 50))  # noqa: E731
    verb = dataclasses.replace(VERBS["eval"], run=too_much)
    monkeypatch.setitem(VERBS, "eval", verb)
    arguments = [
        "eval",
        "--config",
        str(ROOT / "configs/study_tiny.py"),
        "--workdir",
        str(tmp_path),
    ]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["jaxreason", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxreason eval: out of memory: RESOURCE_EXHAUSTED")
    slots = load_recipe(str(ROOT / "configs/study_tiny.py")).eval.sampler.slots
    assert f"--config.eval.sampler.slots={slots // 2}  (now {slots})" in error


def test_a_program_whose_run_the_host_cannot_hold_is_refused_before_it_runs():
    """Linux would promise the memory, and end the process when it is filled."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2, context=1))
    sort = jax.jit(lambda x: jnp.sort(jnp.full((1 << 30, 512), x) * jnp.arange(512)).sum())
    compiling = Compiling(mesh, {"sort": (sort, (jax.ShapeDtypeStruct((), jnp.float32),))})
    with pytest.raises(
        MemoryError, match=r"^the program \"sort\" needs \d+\.0 GiB, and this host has"
    ):
        compiling.wait("sort")


@pytest.mark.parametrize(
    ("verb", "recipe", "change", "message", "advice"),
    [
        (
            "eval",
            "eval_tiny",
            "eval.sampler.slots=100000",
            'the program "cache"',
            "eval.sampler.slots=50000  (now 100000)\n",
        ),
        (
            "sft",
            "base_tiny",
            "model.architecture.intermediate_size=1000000 sft.micro_batch_rows=8",
            "the model's weights",
            "model.attention=blockwise  (now plain)\n",
        ),
    ],
)
def test_what_the_host_cannot_hold_is_refused_with_advice(
    verb, recipe, change, message, advice, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(memory, "room_left", lambda enough: 1 << 30)
    given = ["--config", str(ROOT / f"configs/{recipe}.py"), "--workdir", str(tmp_path)]
    more = "--config.mesh.fsdp=1", "--config.mesh.data=-1"
    assert call(verb, *given, *more, *(f"--config.{x}" for x in change.split())) == 2
    error = capsys.readouterr().err.partition(f"jaxreason {verb}: ")[2]
    assert error.startswith(f"out of memory: {message} needs ") and "Traceback" not in error
    assert "GiB, and this host has 1.0 GiB left." in error and f"--config.{advice}" in error
    assert ("model.remat" in error) == (verb == "sft") and "More devices" not in error


def test_what_a_device_has_is_told_where_it_says():
    stats = {"bytes_limit": 130 * GIB, "bytes_in_use": 7 * GIB, "peak_bytes_in_use": 118 * GIB}
    expected = "A device has 130.00 GiB for programs, of which up to 118.00 were in use.\n"
    assert room(stats) == expected
    assert room(None) == room({}) == ""
