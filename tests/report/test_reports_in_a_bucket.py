"""A report of a study in a bucket: what one on a disk says, without a question to the bucket that it could answer."""

import dataclasses
import json
import re
import shutil
import urllib.parse
from collections import Counter

import object_store
import pytest
from etils import epath
from synthetic_study import ARMS, CONFIG, write_study

from jaxreason.report import build
from jaxreason.report.build import read_summary, run_report
from jaxreason.report.contents import FIGURES

FEW = {name: ARMS[name] for name in ("rl", "sft_lo")}
SHORT = dataclasses.replace(CONFIG, resamples=20)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("made") / "run", 4, (0,), FEW)


@pytest.fixture(params=object_store.CLIENTS)
def both(request, made, tmp_path, monkeypatch):
    """The study on a disk and in a bucket, and the bucket."""
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})
    local = shutil.copytree(made, tmp_path / "run")
    with object_store.opened(monkeypatch, request.param) as store:
        for path in files_in(local):
            store.put(f"bucket/run/{path}", (local / path).read_bytes())
        yield local, epath.Path(f"{request.param}://bucket/run"), store


def files_in(folder):
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


def reported(local, store):
    """The files of both reports, by name."""
    start = "bucket/run/report/"
    there = {n.removeprefix(start): store.objects[n] for n in store.names(f"{start}*")}
    return there, {n: (local / "report" / n).read_bytes() for n in files_in(local / "report")}


def reads(store):
    """How often each object was read."""
    asked = [urllib.parse.unquote(r).split("?")[0] for r in store.requests]
    found = [re.fullmatch(r"GET .*?/?(bucket)(?:/o)?/(run/.+)", one) for one in asked]
    return Counter(match[2] for match in found if match)


def test_it_is_that_of_a_disk_and_asks_the_bucket_for_each_file_once_and_for_hardly_more(both):
    local, there, store = both
    inputs = len(files_in(local))
    run_report(there, SHORT)
    run_report(local, SHORT)
    inside, outside = reported(local, store)
    assert inside == outside and len(inside) > 50
    # Google's client writes a file with two requests. Seven times as many were made when each file was first asked for.
    assert len(store.requests) <= inputs + 2 * len(inside) + 10
    assert len(reads(store)) > 0.9 * inputs and set(reads(store).values()) == {1}


def test_the_next_report_sees_what_was_written_changed_and_removed_since(both):
    local, there, store = both
    run_report(there, SHORT)
    study = json.loads((local / "study.json").read_text())
    study["name"] = "another name"
    own = store.objects["bucket/run/rl/seed_0/analysis/cka.json"].replace(b'"cka"', b'"own"')
    new = {
        "study.json": json.dumps(study).encode(),
        "rl/seed_0/analysis/own.json": own,
    }
    gone = "rl/seed_0/evaluation/scores.json"
    for name, data in new.items():
        store.put(f"bucket/run/{name}", data)
        (local / name).write_bytes(data)
    store.delete(f"bucket/run/{gone}")
    (local / gone).unlink()
    run_report(there, SHORT)
    run_report(local, SHORT)
    inside, outside = reported(local, store)
    assert inside == outside
    summary = read_summary(there)
    assert summary["study"] == "another name"
    assert not {gone} & set(summary["inputs"]) and set(new) <= set(summary["inputs"])
