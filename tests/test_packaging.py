"""The package outside of a checkout: what a wheel holds, and that programs are checked against its types."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROGRAM = """\
from jaxreason.config import parse
from jaxreason.evaluation.transfer_index import relative_degree, transfer_index
from jaxreason.recipes import load_recipe
from jaxreason.sampling.sampling_params import SamplingParams

config = load_recipe("study_tiny")
decoding: SamplingParams = parse(SamplingParams, config.eval.decodings.greedy, "greedy")
words: str = decoding.max_tokens
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build(ROOT, folder)
    (path,) = folder.glob("*.whl")
    return path


def build(source: Path, target: Path, kind: str = "wheel") -> None:
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture
def environment(wheel, tmp_path) -> Path:
    """The interpreter of an environment of its own into which the wheel was unpacked, beside this one's libraries."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def outside(words: list, folder: Path) -> subprocess.CompletedProcess:
    """What a program says that is started from an empty folder, without the checkout on its path."""
    folder.mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)


def test_a_wheel_has_all_files_of_the_package_and_the_recipes_and_nothing_else(wheel):
    shipped = {"jaxreason": "jaxreason", "configs": "jaxreason/recipes_data/configs"}
    wanted = {
        f"{target}/{path.relative_to(ROOT / source)}"
        for source, target in shipped.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted.remove(
        "jaxreason/evaluation/jaxreason_lm_eval.pth"
    )  # lies where Python looks for such files
    wanted.add("jaxreason_lm_eval.pth")
    assert names(wheel) == wanted
    parts = ("py.typed", "report/templates/report.html.jinja", "results/paper/scores.csv")
    assert {f"jaxreason/{part}" for part in parts} <= wanted
    assert "jaxreason/recipes_data/configs/tiny_base/model.safetensors" in wanted


def test_an_sdist_builds_the_same_wheel(wheel, tmp_path):
    build(ROOT, tmp_path, "sdist")
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xzf", archive, "-C", tmp_path], check=True)
    build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert names(again) == names(wheel)


def test_the_citation_and_the_changelog_name_the_version():
    from jaxreason import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("extra", ["", "test"])
def test_the_pins_name_everything_that_is_needed(extra):
    """scripts/environment.sh installs them without asking what they need."""
    pins = (ROOT / "scripts" / f"pins-py3{sys.version_info.minor}.txt").read_text()
    pinned = {Requirement(line).name for line in pins.splitlines() if line[:1] not in ("", "#")}
    found, asked = set(), [Requirement(f"jaxreason[{extra}]" if extra else "jaxreason")]
    while asked:
        requirement = asked.pop()
        if str(requirement) in found:
            continue
        found.add(str(requirement))
        extras = requirement.extras or {""}
        more = map(Requirement, metadata.requires(requirement.name) or [])
        asked += [
            r
            for r in more
            if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    names = {canonicalize_name(Requirement(text).name) for text in found}
    assert names - {canonicalize_name(name) for name in pinned} == {"jaxreason"}


def test_tests_are_collected_without_torch_which_few_of_them_need():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert "torch" not in {name.partition(".")[0] for name in names if name}, path


def test_the_types_that_are_checked_are_those_of_the_documented_modules():
    text = (ROOT / "docs" / "api.md").read_text()
    documented = {name.rpartition(".")[0] for name in re.findall(r"^::: (\S+)$", text, re.M)}
    files = {f"{name.replace('.', '/')}.py" for name in documented}
    assert set(SETTINGS["tool"]["mypy"]["files"]) == files


def test_the_documented_modules_have_types_without_errors():
    words = [sys.executable, "-m", "mypy"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_program_is_checked_against_the_types_of_the_installed_package(environment, tmp_path):
    words = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
    words += ["--cache-dir", tmp_path / "cache", "--python-executable", environment]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = outside([*words, program], tmp_path / "elsewhere")
    assert done.stdout.splitlines()[:-1] == [
        f"{program}:8: error: Incompatible types in assignment "
        '(expression has type "int", variable has type "str")  [assignment]'
    ]


@pytest.mark.slow
def test_the_tiny_study_is_found_from_any_folder(environment, tmp_path):
    words = [environment, "-m", "jaxreason", "study", "--config", "study_tiny", "--dry-run"]
    done = outside(words, tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "sft_top" in done.stdout and not list((tmp_path / "elsewhere").iterdir())


def test_the_import_of_real_weights_tells_what_it_needs_where_that_is_missing():
    script = ROOT / "scripts" / "import_smollm2.py"
    code = f"import runpy, sys; sys.modules['gguf'] = None; runpy.run_path({str(script)!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == "error: gguf is not installed: pip install gguf\n"
