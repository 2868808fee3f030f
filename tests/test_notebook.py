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


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    """Runs the cell that installs, on a machine that `has` these files and programs; returns the commands."""

    def run(has: tuple[str, ...], installed: bool = False, where=tmp_path) -> list[list[str]]:
        (cell,) = (c for c in NOTEBOOK["cells"] if "install" in c["metadata"].get("tags", ()))
        commands: list[list[str]] = []
        exists = os.path.exists
        monkeypatch.chdir(where)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name if installed else None)
        monkeypatch.setattr("shutil.which", lambda name: name if name in has else None)
        monkeypatch.setattr(
            "os.path.exists",
            lambda path: path in has if str(path).startswith("/dev/") else exists(path),
        )
        monkeypatch.setattr("subprocess.run", lambda words, check: commands.append(words))
        exec("".join(cell["source"]), {})
        return commands

    return run


@pytest.mark.parametrize(
    ("has", "extra"),
    [
        ((), ""),
        (("nvidia-smi",), "[cuda]"),
        (("/dev/accel0",), "[tpu]"),
        (("/dev/vfio/0",), "[tpu]"),
    ],
)
def test_the_first_cell_installs_a_clone_with_the_jax_of_the_machine(
    first_cell, tmp_path, has, extra
):
    clone, install = first_cell(has)
    assert (clone[:2], clone[-1]) == (["git", "clone"], str(tmp_path / "jaxreason_source"))
    assert install == [sys.executable, "-m", "pip", "install", "--quiet", f"{clone[-1]}{extra}"]


@pytest.mark.parametrize("folder", [ROOT, ROOT / "docs"])
def test_the_first_cell_installs_the_checkout_around_it_and_clones_nothing(first_cell, folder):
    (install,) = first_cell((), where=folder)
    assert install[-1] == str(ROOT)


def test_the_first_cell_does_nothing_if_the_project_is_installed(first_cell):
    assert first_cell(("nvidia-smi",), installed=True) == []


@pytest.mark.slow
def test_the_cells_run_in_order_and_print_the_index_of_the_report(tmp_path):
    program = tmp_path / "cells.py"
    program.write_text("\n\n".join(code_cells()))
    # One device, as most notebooks have. It computes more than it compiles, which LLVM makes faster.
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    flags += " --xla_backend_optimization_level=1"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "XLA_FLAGS": flags}
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
