import json
import os
import subprocess
import sys

import pytest
from study_runs import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())


def code_cells() -> list[str]:
    """The code, but for the cell that installs the project."""
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    return ["".join(c["source"]) for c in cells if "install" not in c["metadata"].get("tags", ())]


def test_the_notebook_is_of_version_4_without_outputs_and_every_cell_is_python():
    assert (NOTEBOOK["nbformat"], len(code_cells())) == (4, 9)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.slow
def test_the_cells_run_in_order_and_print_the_index_of_the_report(tmp_path):
    program = tmp_path / "cells.py"
    program.write_text("\n\n".join(code_cells()))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, program.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "runs/small/report/summary.json").read_text())
    rows = [r for r in summary["transfer"] if r["decoding"] == "greedy"]
    rows = [r for r in rows if r["mode"] == "v1_relative"]
    assert {(r["arm"], r["group"]) for r in rows} == {
        (arm, group) for arm in ("rl", "sft_top") for group in ("other", "non_reasoning")
    }
    assert all(row["ti"] is not None for row in rows if row["arm"] == "rl")
    for row in rows:
        value = "undefined: " if row["ti"] is None else f"{row['ti']:+.2f} ["
        assert f"{row['arm']:8} {row['group']:14} {value}" in done.stdout
    assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "my_recipe.py").exists()
