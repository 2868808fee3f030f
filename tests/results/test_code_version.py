"""Which code makes a result: a commit only where the files belong to one."""

import subprocess

import jaxreason
from jaxreason.results.code_version import checkout_version, code_version, package_versions


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_of_a_checkout_and_whether_its_files_are_those_of_the_commit(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert checkout_version(package) == {}
    git(tmp_path, "init", "-q")
    assert checkout_version(package) == {}  # inside of somebody's checkout, and not part of it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "First")
    found = checkout_version(package)
    assert len(found["commit"]) == 40 and found["clean"] is True
    (package / "__init__.py").write_text("x = 1\n")
    assert checkout_version(package) == found | {"clean": False}


def test_without_git_the_commit_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_version(tmp_path) == {}


def test_versions_are_those_of_the_packages():
    found = package_versions(["numpy", "no-such-package"])
    assert found["jaxreason"] == jaxreason.__version__
    assert found["no-such-package"] == "not installed" and found["numpy"][0].isdigit()
    assert set(code_version()["versions"]) == {"jaxreason", "python", "jax", "transformers"}
