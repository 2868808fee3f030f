"""Every shell script of the checkout, by bash and by shellcheck (which the extra `test` brings); and the Dockerfile."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path
    for pattern in ("tpu/*.sh", "tpu/*.sbatch", "scripts/*.sh", ".ci/*")
    for path in ROOT.glob(pattern)
)
STAGES = {
    name: (base, body)
    for base, name, body in re.findall(
        r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)",
        (ROOT / "tpu" / "Dockerfile").read_text(),
        re.M | re.S,
    )
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_there_are_scripts():
    assert len(SCRIPTS) >= 16


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid_shell_and_shellcheck_finds_nothing(script):
    subprocess.run(["bash", "-n", script], check=True)
    beside = Path(sys.executable).parent / "shellcheck"
    program = beside if beside.exists() else shutil.which("shellcheck")
    assert program, "shellcheck is missing: pip install -e '.[test]'"
    found = subprocess.run(
        [program, "-x", "-P", "SCRIPTDIR", script], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("absolute", [True, False])
def test_the_environment_may_be_in_any_folder(absolute, tmp_path):
    """What is installed is stamped, so that nothing is installed here."""
    folder = tmp_path / "in an environment"
    (folder / "bin").mkdir(parents=True)
    named = folder if absolute else Path(os.path.relpath(folder, ROOT))
    pins = "pins-py311.txt" if sys.version_info[:2] == (3, 11) else "pins-py312.txt"
    series = "{}.{}".format(*sys.version_info)
    stamp = (
        f'echo "$(cat scripts/{pins} pyproject.toml | cksum)-{series}-" > "$VENV/jaxreason-stamp"'
    )
    made = subprocess.run(
        ["bash", "-c", f'{stamp} && source scripts/environment.sh && echo "${{PATH%%:*}}"'],
        env=os.environ | {"VENV": str(named), "PYTHON": sys.executable, "EXTRAS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == str(folder / "bin")


def test_the_dockerfile_makes_an_image_for_each_kind_of_device():
    assert list(STAGES) == ["base", "cuda", "tpu", "cpu"]  # the last one is made without --target
    assert all(base == "base" for name, (base, _) in STAGES.items() if name != "base")


@pytest.mark.parametrize(("stage", "extra"), [("cuda", "cuda"), ("tpu", "tpu"), ("cpu", "gs")])
def test_an_image_is_installed_by_an_extra_that_there_is_with_the_pins(stage, extra):
    (line,) = re.findall(r"^RUN pip install (.*)$", STAGES[stage][1], re.M)
    flags, extras = re.fullmatch(r"(.*) '\.\[(.*)\]'", line).groups()
    asked = set(extras.split(","))
    assert extra in asked and asked <= set(PROJECT["project"]["optional-dependencies"])
    assert flags == "--no-cache-dir --constraint scripts/pins-py312.txt"


def test_the_image_has_all_that_the_package_is_built_of_and_nothing_that_is_kept_out():
    copied = [
        path
        for line in re.findall(r"^COPY (.*)$", STAGES["base"][1], re.M)
        for path in line.split()[:-1]
    ]
    assert all((ROOT / path).exists() for path in copied)
    forced = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    project = PROJECT["project"]
    for needed in (
        *forced,
        "pyproject.toml",
        project["readme"],
        *project["license-files"],
        "jaxreason",
    ):
        assert any(needed == path or needed.startswith(f"{path}/") for path in copied), needed
    ignored = (ROOT / "tpu" / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert ignored[1] == "*" and sorted(kept) == sorted(copied)
    assert not any(fnmatch.fnmatch(path, pattern) for path in copied for pattern in ignored[2:])
