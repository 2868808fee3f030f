"""gs:// and s3://: the extras bring what opens them, and without it there is one line that says so."""

import importlib.metadata
import importlib.util
import pathlib
import re
import tomllib

import pytest
from etils import epath

from jaxreason import cli
from jaxreason.errors import UserError
from jaxreason.results import buckets
from jaxreason.results.buckets import BUCKETS, check_path
from jaxreason.verbs.flags import FLAGS, flags_of

EXTRAS = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())
EXTRAS = EXTRAS["project"]["optional-dependencies"]


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(buckets.importlib.util, "find_spec", lambda name: None)


def test_folders_need_nothing(nothing_installed):
    for path in (None, "", "runs/x", "/tmp/x", pathlib.Path("runs")):
        check_path(path)


@pytest.mark.parametrize(
    "verb", [verb for flag in FLAGS if flag.name == "workdir" for verb in flag.verbs]
)
@pytest.mark.parametrize("scheme", BUCKETS)
def test_any_verb_says_in_one_line_which_extra_a_bucket_needs(
    nothing_installed, capsys, verb, scheme
):
    arguments = [f"--workdir={scheme}://bucket/runs/x"]
    values = {"config": "configs/study_tiny.py", "slice": "h100"}
    for flag in flags_of(verb):
        if verb in flag.needed and flag.name != "workdir":
            arguments += [f"--{flag.name}", values.get(flag.name, "x")]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["jaxreason", verb, *arguments])
    shown = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and len(shown) == 1
    assert f"pip install 'jaxreason[{scheme}]'" in shown[0]
    assert f"{scheme}://bucket/runs/x" in shown[0]


def test_a_scheme_that_nothing_opens_is_no_local_folder():
    with pytest.raises(UserError, match=r"gcs://b/x: expected a folder, or .* gs://, s3://"):
        check_path("gcs://b/x")


@pytest.mark.parametrize("character", "*?[]")
def test_a_bucket_s_path_with_a_character_of_patterns_is_refused(character):
    path = f"gs://bucket/run{character}1"
    with pytest.raises(
        UserError, match=re.escape(f"{path}: expected a path without `{character}`")
    ):
        check_path(path)


def test_the_extras_ask_for_what_etils_opens_a_bucket_with():
    (gs,), (s3,) = EXTRAS["gs"], EXTRAS["s3"]
    assert gs.startswith("etils[epath-gcs]") and s3.startswith("etils[epath-s3]")
    assert all("jaxreason[gs,s3]" in EXTRAS[name] for name in ("tpu", "cuda"))
    needed = importlib.metadata.requires("etils")
    for library, extra in (("gcsfs", "epath-gcs"), ("s3fs", "epath-s3")):
        assert any(r.startswith(library) and f'"{extra}"' in r for r in needed)


def test_the_versions_that_were_tested_are_pinned_with_all_the_others():
    for pins in ("pins-py311.txt", "pins-py312.txt"):
        lines = (pathlib.Path(__file__).parents[2] / "scripts" / pins).read_text().splitlines()
        names = {line.split("==")[0] for line in lines}
        assert {"gcsfs", "s3fs", "fsspec", "aiobotocore", "google-cloud-storage"} <= names


@pytest.mark.parametrize("scheme", BUCKETS)
def test_where_the_library_is_installed_the_path_is_accepted_and_its_file_system_made(scheme):
    pytest.importorskip(BUCKETS[scheme][0])
    fsspec = pytest.importorskip("fsspec")
    check_path(f"{scheme}://bucket/x")
    assert fsspec.get_filesystem_class(scheme) is not None
    assert str(epath.Path(f"{scheme}://bucket") / "x") == f"{scheme}://bucket/x"


def test_no_path_on_a_bucket_has_become_a_folder_of_the_checkout():
    top = pathlib.Path(__file__).parents[2]
    assert [path.name for path in top.iterdir() if path.name.endswith(":")] == []


@pytest.mark.parametrize(("there", "made"), [(b"ours", True), (b"another's", False)])
def test_an_object_whose_writing_was_answered_too_late_is_ours(tmp_path, monkeypatch, there, made):
    class Store:
        def pipe_file(self, path, data, mode):
            (tmp_path / "a").write_bytes(there)
            raise FileExistsError(path)

    monkeypatch.setattr(buckets, "_store", lambda path: Store())
    assert buckets.create_object(epath.Path(tmp_path) / "a", b"ours") is made
