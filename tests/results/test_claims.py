"""A stage is claimed by what it reads, and its end names what it completes."""

import json

import pytest
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.results.claims import claim, mark_done, why_not_done

RECORD = {"sft": {"steps": 3, "stop": ("a",)}, "data": {"sums": {"rows": 30}}}
OTHER = {"sft": {"steps": 4, "stop": ("a",)}, "data": {"sums": {"rows": 15}}}


def take(folder, claimed, begun=True, **about):
    claim(epath.Path(folder), claimed, begun, about)


def test_a_begun_folder_refuses_another_claim_and_names_the_difference(tmp_path):
    take(tmp_path, RECORD, begun=False)
    take(tmp_path, RECORD)
    with pytest.raises(ConfigError, match=r"data.sums.rows: 30 -> 15\n  sft.steps: 3 -> 4"):
        take(tmp_path, OTHER)


def test_a_folder_in_which_nothing_was_begun_belongs_to_nobody(tmp_path):
    take(tmp_path, RECORD, begun=False)
    take(tmp_path, OTHER, begun=False)
    take(tmp_path, OTHER)
    (tmp_path / "config.json").write_text("{")
    take(tmp_path, RECORD, begun=False)
    take(tmp_path, RECORD)
    claimed = json.loads((tmp_path / "config.json").read_text())["claimed"]
    assert claimed["sft"]["steps"] == 3 and claimed["data"] == RECORD["data"]


def test_results_of_unknown_origin_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="made with is not known"):
        take(tmp_path, RECORD)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json, claimed: expected an object, got nothing"):
        take(tmp_path, RECORD)
    (tmp_path / "config.json").write_text("")
    with pytest.raises(UserError, match=r"config\.json: the file is empty") as refused:
        take(tmp_path, RECORD)
    # To remove the file, as other broken ones, would not do: "what was made with is not known".
    assert str(refused.value).endswith(f"Use another --workdir, or remove {tmp_path}.")


def test_what_is_only_told_may_change(tmp_path):
    take(tmp_path, RECORD, begun=False, recipe={"log_every": 1})
    take(tmp_path, RECORD, recipe={"log_every": 2})
    assert json.loads((tmp_path / "config.json").read_text())["recipe"] == {"log_every": 2}


@pytest.fixture
def done(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "weights").write_text("0123")
    mark_done(folder, {"stage": "sft", "num_steps": 6}, RECORD, [folder / "weights"])
    return folder


def test_an_end_holds_for_just_what_it_completes(done):
    summary = {"stage": "sft", "num_steps": 6}
    assert why_not_done(done, summary, RECORD) is None
    assert "num_steps: 6 -> 8" in why_not_done(done, summary | {"num_steps": 8}, RECORD)
    assert "made with something else" in why_not_done(done, summary, OTHER)


@pytest.mark.parametrize("content", ["", "{", "null", '{"files": 3}', "\udc80"])
def test_a_broken_end_is_none(done, content):
    (done / "done.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "done.json" in why_not_done(done, {"stage": "sft", "num_steps": 6}, RECORD)


def test_a_file_that_is_gone_or_cut_undoes_the_end(done):
    for change in (lambda: (done / "weights").write_text("012"), (done / "weights").unlink):
        change()
        assert "weights: missing" in why_not_done(done, {"stage": "sft", "num_steps": 6}, RECORD)
