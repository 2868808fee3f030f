"""Files of analysis/ that somebody edited: one message with the place, whatever part of them is wrong."""

import copy
import json

import pytest
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.drift_files import drift_path, read_drift
from jaxreason.results.shapes import Along, Apart, From, Maybe, Place, check_shape

COUNTS = {"num_texts": 4, "num_cut": 0, "num_dropped": 0}
UNIT = {"benchmark": "sums", "source": "base", **COUNTS}
PCA = {
    **{"base_centre": [[0.0, 1.0], [2.0, 3]], "tuned_centre": [[0.0, 1.0], [2.0, 3]]},
    **{"explained_variance": [[0.5, 0.1], [0.4, 0.2]], "shift_in_plane": [0.0, 1.0]},
    "explained_variance_tuned": [[0.5, 0.1], [0.4, 0.2]],
}
ROW = {"name": "shift", "value": 1.0, "low": 0.5, "high": 2, "group": "math", "source": "base"}
FILES = {
    "pca_shift": {"details": {"units": [UNIT | {"reply": PCA}]}},
    "sinks": {
        "details": {
            "units": [
                UNIT
                | {"rule": {"ratio": 10.0}, "middle": 1, "excluded": [0.0, 1.0, 0.0]}
                | {
                    "excluded_of_reply": [0.0, 0, 0],
                    "base_ratio": [1.0, 2, 1],
                    "tuned_ratio": [1, 2, 1],
                }
                | {"by_position": [{"first": 1, "base": [0, 1.0, 0], "tuned": [0, 1.0, 0]}]}
            ]
        }
    },
    "token_kl": {
        "decoding": "t1",
        "details": {
            "units": [
                UNIT
                | {"by_position": [{"first": 1, "last": 1, "num_tokens": 4, "kl_forward": 0.1}]},
                UNIT | {"undefined": "no text"},
            ]
        },
    },
    "weights": {
        "tuned": "here",
        "details": {
            "whole": {"changed_share": 0.1},
            "by_kind": {"q_proj": {"changed_share": 0.1}},
            "by_layer": [{"changed_share": 0.1}],
            "tensors": [
                {"directions": None},
                {"directions": {"values": [1.0], "base_values": [2.0]}},
            ],
        },
    },
    "my_own": {"details": {"units": [UNIT | {"anything": [None, "x"]}]}},
}


def write(folder, metric: str, change=lambda value: None):
    value = {"metric": metric, "rows": [], "groups": [ROW | {"draws": [1.0, 2]}]} | FILES[metric]
    value = copy.deepcopy(value)
    change(value)
    path = drift_path(folder, metric)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return value


@pytest.mark.parametrize("metric", FILES)
def test_a_file_as_it_was_written_is_read(tmp_path, metric):
    assert write(tmp_path, metric) == read_drift(epath.Path(tmp_path), metric)


def unit(value):
    return value["details"]["units"][0]


@pytest.mark.parametrize(
    ("metric", "change", "message"),
    [
        (
            "pca_shift",
            lambda v: v["groups"][0].pop("draws"),
            "groups, 1, draws: expected a list, got nothing",
        ),
        (
            "pca_shift",
            lambda v: v["groups"].append(ROW | {"draws": [1]}),
            "groups, 2, draws: expected 2 entries, as all lists over draws, got 1",
        ),
        (
            "pca_shift",
            lambda v: v["groups"][0].update(low=None),
            "groups, 1, low: expected a number, got None",
        ),
        (
            "pca_shift",
            lambda v: unit(v).update(num_cut=-1),
            "details, units, 1, num_cut: expected a whole number from 0, got -1",
        ),
        (
            "pca_shift",
            lambda v: unit(v).pop("source"),
            "details, units, 1, source: expected a text, got nothing",
        ),
        (
            "pca_shift",
            lambda v: unit(v)["reply"]["base_centre"].pop(),
            "details, units, 1, reply, tuned_centre: expected 1 entries, as all lists over layers, got 2",
        ),
        (
            "pca_shift",
            lambda v: unit(v)["reply"]["base_centre"][1].pop(),
            "details, units, 1, reply, base_centre, 2: expected 2 entries, got 1",
        ),
        (
            "pca_shift",
            lambda v: unit(v)["reply"]["explained_variance"][1].pop(),
            "explained_variance, 2: expected 2 entries, as all lists over axes, got 1",
        ),
        (
            "pca_shift",
            lambda v: unit(v).update(reply=[]),
            r"details, units, 1, reply: expected an object, got \[\]",
        ),
        (
            "sinks",
            lambda v: unit(v).update(middle=3),
            "details, units, 1, middle: expected a whole number from 0 to 2, got 3",
        ),
        (
            "sinks",
            lambda v: unit(v)["by_position"][0].update(base={}),
            "by_position, 1, base: expected a list that is not empty, got {}",
        ),
        ("token_kl", lambda v: v.pop("decoding"), "decoding: expected a text, got nothing"),
        (
            "token_kl",
            lambda v: unit(v)["by_position"][0].update(num_tokens=0),
            "by_position, 1, num_tokens: expected a whole number from 1, got 0",
        ),
        (
            "token_kl",
            lambda v: unit(v)["by_position"][0].update(js="x"),
            "by_position, 1, js: expected a number, got 'x'",
        ),
        (
            "token_kl",
            lambda v: v["details"]["units"][1].update(undefined=3),
            "units, 2, undefined: expected a text, got 3",
        ),
        (
            "weights",
            lambda v: v["details"].pop("by_kind"),
            "details, by_kind: expected an object, got nothing",
        ),
        (
            "weights",
            lambda v: v["details"]["tensors"][1]["directions"].update(values=[]),
            "directions, values: expected a list that is not empty",
        ),
        (
            "my_own",
            lambda v: v["details"].update(units=[3]),
            "details, units, 1: expected an object, got 3",
        ),
    ],
)
def test_a_part_that_was_edited_is_named_with_what_was_expected(tmp_path, metric, change, message):
    write(tmp_path, metric, change)
    with pytest.raises(UserError, match=rf"analysis/{metric}\.json, .*{message}") as error:
        read_drift(epath.Path(tmp_path), metric)
    assert "\n" not in str(error.value)


def test_lists_of_one_axis_are_equally_long_but_for_parts_that_stand_apart():
    shape = {
        "one": Along("n", float),
        "two": [Apart(Along("n", From(0)))],
        "at?": Maybe(Place("n")),
    }
    check_shape({"one": [1, 2.5], "two": [[1], [1, 2, 3]], "at": None}, shape, "here", {})
    check_shape({"one": [1, 2.5], "two": [], "at": 1}, shape, "here", {})
    with pytest.raises(UserError, match=r"^here, at: expected a whole number from 0 to 1, got 2"):
        check_shape({"one": [1, 2.5], "two": [], "at": 2}, shape, "here", {})
    with pytest.raises(
        UserError, match=r"^here, one: expected 3 entries, as all lists over n, got 2"
    ):
        check_shape({"one": [1, 2.5], "two": []}, shape, "here", {"n": 3})
    with pytest.raises(UserError, match=r"^here, one, 2: expected a number, got 1000"):
        check_shape({"one": [1.5, 10**400], "two": []}, shape, "here", {})
    with pytest.raises(UserError, match=r"^here, one, 1: expected a number, got True"):
        check_shape({"one": [True], "two": []}, shape, "here", {})
