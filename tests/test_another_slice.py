"""A run that began on one slice goes on on others, in other numbers of processes, as if it had stayed."""

import json
import pathlib

import numpy as np
import pytest
from processes import run_programs
from safetensors.numpy import load_file

TESTS = pathlib.Path(__file__).resolve().parent
TIMES = ("seconds", "per_second", "mfu", "utilization")
OF_A_PLACE = ("weights_bytes", "stage", "epoch")


def numbers(run):
    """The metrics of each step, but for times and what goes by the mesh."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not k.endswith(TIMES) and k not in OF_A_PLACE}
        for row in rows
    ]


def assert_nearly_same(one, other):
    for here, there in zip(numbers(one), numbers(other), strict=True):
        assert here == pytest.approx(there, rel=1e-3, abs=2e-5)
    weights = load_file(other / "model" / "model.safetensors")
    for name, value in load_file(one / "model" / "model.safetensors").items():
        np.testing.assert_allclose(value, weights[name], atol=3e-5, err_msg=name)


# Steps that were made when a place ends, its processes, and the devices of each.
PLACES = [(2, 1, 8), (3, 2, 2), (4, 1, 2)]
LENGTH = {"sft": lambda steps: f"epochs={steps / 4}", "rl": lambda steps: f"num_steps={steps}"}
# Sizes of the smaller places.
SMALLER = {
    "sft": ["micro_batch_rows=4", "pack=False"],
    "rl": ["micro_batch_rows=4", "sampler.slots=8"],
}


def program(stage, workdir, folder, steps, processes, devices, changes=()):
    fields = [LENGTH[stage](steps), "optimizer.schedule=constant", *changes]
    words = [stage, "--config", str(TESTS / "smallest_study.py"), "--workdir", str(workdir)]
    words += [f"--config.{stage}.{field}" for field in fields]
    folder.mkdir()
    ends = run_programs([words] * processes, folder, num_devices=devices)
    assert [end.code for end in ends] == [0] * processes, ends[0].output[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("stage", LENGTH)
def test_the_program_goes_on_with_other_devices_and_processes(stage, tmp_path):
    program(stage, tmp_path / "stayed", tmp_path / "log", 4, 1, 8)
    for steps, processes, devices in PLACES:
        changes = SMALLER[stage] if steps > 2 else ()
        log = tmp_path / f"log_{steps}"
        program(stage, tmp_path / "moved", log, steps, processes, devices, changes)
    assert_nearly_same(tmp_path / "moved", tmp_path / "stayed")
    if stage == "rl":
        for step in range(1, 5):
            one, other = (
                [json.loads(line)["tokens"] for line in path.read_text().splitlines()]
                for path in (tmp_path / x / f"rollouts/{step}.jsonl" for x in ("moved", "stayed"))
            )
            assert one == other and one
