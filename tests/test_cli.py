"""The program: what it says to whom it cannot serve, without a traceback and before anything is compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason.cli import main

ROOT = Path(__file__).parent.parent


def run(*arguments, cwd=ROOT):
    code = "from jaxreason.__main__ import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_shows_every_verb_with_an_example():
    result = run("--help")
    assert result.returncode == 0
    for verb in (
        "study",
        "sft",
        "rl",
        "eval",
        "transfer",
        "drift",
        "report",
        "convert",
        "chat",
        "serve",
        "plan",
    ):
        assert f"jaxreason {verb} --config" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stduy"], "no such verb; did you mean 'study'?"),
        (["sft", "--config", "configs/study_tinyy.py"], "did you mean 'configs/study_tiny.py'?"),
        (
            ["sft", "--config", "configs/study_tiny.py", "--config.sft.optimizr.b1=0.9"],
            "config.sft.optimizr: no such field; did you mean 'optimizer'?",
        ),
        (
            ["sft", "--config", "configs/study_tiny.py", "--config.sft.epochs=many"],
            "config.sft.epochs",
        ),
        (
            ["eval", "--config", "configs/transfer_paper.py", "--workdir", "x"],
            "config.mesh: this recipe has no",
        ),
        (["sft", "--config", "configs/study_tiny.py"], "--workdir is needed"),
        (["study", "--config", "configs/study_tiny.py"], "--workdir is needed"),
        (
            ["sft", "--config", "configs/study_tiny.py", "--workdir", "x", "--dry-run"],
            "--dry-run is for `jaxreason study`",
        ),
        (
            ["grade", "--config", "configs/eval_tiny.py", "--workdir", "x", "--benchmark", "add"],
            "--benchmark is for --responses FILE",
        ),
        (
            ["grade", "--config", "configs/eval_tiny.py", "--workdir", "x", "--group", "math"],
            "--group is for --lm-eval DIR",
        ),
        (
            [
                *("grade", "--config", "configs/eval_tiny.py", "--workdir", "x"),
                *("--responses", "a.jsonl", "--lm-eval", "b"),
            ],
            "--responses and --lm-eval: one of them at a time",
        ),
        (["plan", "--config", "configs/study_tiny.py"], "--slice is needed by `jaxreason plan`"),
        (
            ["plan", "--config", "configs/rl_qwen3_14b.py", "--slice", "v5p-65"],
            "--slice v5p-65: no such slice; did you mean 'v5p-64'? There are, nearest first: v5p-64,",
        ),
        (
            ["plan", "--config", "configs/sft_qwen3.py:5b", "--slice", "h100"],
            "--slice 5b: no such slice. There are",
        ),
        (
            ["sft", "--config", "configs/study_tiny.py", "--wrkdir", "x"],
            "did you mean '--workdir'?",
        ),
    ],
)
def test_a_mistake_ends_with_code_2_and_one_message_that_names_it(
    arguments, message, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        main(["jaxreason", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_needs_no_working_directory():
    result = run("study", "--config", "configs/study_tiny.py", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "evaluate base" in result.stdout and "disk GiB" in result.stdout


def test_a_field_of_before_is_refused_with_what_takes_its_place():
    recipe = ["--config", "configs/study_tiny.py", "--slice", "h100", "--nofit"]
    result = run("plan", *recipe, "--config.sft.num_micro_batches=4")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "no such field any more: `batch_size` now counts examples" in result.stderr
    assert "`micro_batch_rows` says how many rows" in result.stderr


def test_transfer_recomputes_the_papers_indices_to_a_tenth_and_marks_what_is_not_met(tmp_path):
    result = run(
        "transfer",
        "--config",
        "configs/transfer_paper.py",
        "--workdir",
        str(tmp_path),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "transfer.json").read_text())["rows"]
    found = {
        (row["model"], row["group"]): row["ti"] for row in rows if row["mode"] == "paper_scales"
    }
    lines = (ROOT / "jaxreason/results/paper/transferability.csv").read_text().splitlines()
    header = next(line for line in lines if not line.startswith("#")).split(",")
    for line in lines[lines.index(",".join(header)) + 1 :]:
        row = dict(zip(header, line.split(","), strict=True))
        for group, column in (("other", "recomputed_other"), ("non_reasoning", "recomputed_non")):
            assert found[row["model"], group] == pytest.approx(float(row[column]), abs=0.05)


# XLA's CPU compiler warns of this way to spread a program over devices.
WARNS = """
import jaxreason.cli, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_use_shardy_partitioner", False)
rows = NamedSharding(Mesh(np.array(jax.devices()), "x"), PartitionSpec("x"))
jax.jit(lambda x: x * 2, in_shardings=rows)(np.arange(4)).block_until_ready()
print("told by the program", file=sys.stderr)
"""


@pytest.mark.slow
def test_warnings_of_the_compiler_are_shown_to_who_asks_for_them_alone():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | flags
    told = {}
    for level in ({"TF_CPP_MIN_LOG_LEVEL": "1"}, {}):
        done = subprocess.run(
            [sys.executable, "-c", WARNS],
            env=environment | level,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        told[bool(level)] = done.stderr
    if "sharding_propagation.cc" not in told[True]:
        pytest.skip("this XLA does not warn of it")
    assert told[False] == "told by the program\n"
