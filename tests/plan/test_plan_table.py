"""The script behind the table of docs/plan.md: which slices it tries, and how it shows them."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("plan_table", ROOT / "scripts" / "plan_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("generation", "first"),
    # 12 bytes of 14,768,307,200 parameters are 165 GiB
    [("v4", "v4-16"), ("v5e", "v5e-16"), ("v5p", "v5p-8"), ("v6e", "v6e-8"), ("tpu7x", "tpu7x-8")],
)
def test_the_first_slice_tried_is_the_first_that_can_hold_the_state(script, generation, first):
    assert script.candidates(generation)[0] == first


def test_the_table_shows_sft_first_and_slices_in_order(script, tmp_path):
    for stage, name, fits in (
        ("rl", "v5p-64", True),
        ("sft", "v6e-8", False),
        ("sft", "v5p-8", True),
    ):
        program = {"name": "step", "total": 20.25 * 2**30, "refused": not fits}
        found = {
            "slice": {"name": name, "chips": 4, "devices": 4},
            "hbm": 2**35,
            "mesh": {"data": 1, "fsdp": 4},
            "stages": [{"name": stage, "fits": fits, "programs": [program]}],
        }
        folder = tmp_path / f"{stage}_{name}"
        folder.mkdir()
        (folder / "plan.json").write_text(json.dumps(found))
    rows = [line.split(" | ") for line in script.table(tmp_path).splitlines()[2:]]
    assert [row[:2] for row in rows] == [["| sft", "v5p-8"], ["| sft", "v6e-8"], ["| rl", "v5p-64"]]
    assert rows[1][5:] == ["step over 20.2", "32.00", "no |"] and rows[0][4] == "fsdp 4"
