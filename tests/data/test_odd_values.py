"""Values of rows that are no text: NaN in the place of null, and values nested beyond use."""

import json
import math

import pytest

from jaxreason.data.column_mapping import MOST_CHARACTERS
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog

NAN = math.nan


def load(tmp_path, make_config, *rows, **changes):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    config, drops = make_config(path, **changes), DropLog()
    return load_examples(config, drops), drops.to_json()[config.label]


@pytest.mark.parametrize("nothing", [None, NAN, [], [None], [NAN, None]])
def test_nan_in_an_optional_column_is_as_null(tmp_path, make_config, nothing):
    fields = {"prompt": "q", "answer": "a", "response": "r", "system": "s", "reasoning": "t"}
    row = {"q": "Q", "a": "A", "r": "R", "s": nothing, "t": nothing}
    (found,), _ = load(tmp_path, make_config, row, fields=fields)
    assert list(found.messages) == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "R"},
    ]


def test_nan_in_a_template_is_as_null(tmp_path, make_config):
    rows = [{"question": "Q", "answer": "A", "hint": hint} for hint in (NAN, None, 0.5, "nan")]
    found, _ = load(tmp_path, make_config, *rows, prompt_template="{prompt} [{hint}]")
    assert [e.messages[0]["content"] for e in found] == ["Q []", "Q []", "Q [0.5]", "Q [nan]"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["a", None, NAN], "a"),
        (["a", NAN, "b"], "a, b"),
        (["a", ["b", None]], "a, b"),
        ([0, False], "0, False"),
        ("nan", "nan"),
        ({"a": None}, '{"a": null}'),
    ],
)
def test_nulls_within_a_list_are_left_out(tmp_path, make_config, answer, expected):
    (found,), _ = load(tmp_path, make_config, {"question": "Q", "answer": answer})
    assert found.answer == expected


@pytest.mark.parametrize("answer", [None, NAN, [None], [NAN], [[None], None], [[]]])
def test_a_list_of_nulls_is_no_answer(tmp_path, make_config, answer):
    good = {"question": "Q", "answer": "A"}
    found, counts = load(tmp_path, make_config, {"question": "Q", "answer": answer}, good)
    assert [e.answer for e in found] == ["A"]
    assert sum(counts["dropped"].values()) == 1


@pytest.mark.parametrize("depth", [300, 450, 600, 900])
@pytest.mark.parametrize("column", ["answer", "more"])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_row_nested_beyond_use_is_dropped_and_counted(
    tmp_path, make_config, depth, column, brackets
):
    opened = '{"x":' if brackets == "{}" else "["
    deep = opened * depth + "1" + brackets[1] * depth
    bad = f'{{"question": "Q", "answer": "A", "{column}": {deep}}}'
    good = {"question": "Q", "answer": "A"}
    found, counts = load(tmp_path, make_config, bad, good, metadata=())
    assert len(found) == 1 and sum(counts["dropped"].values()) == 1


def test_a_row_of_moderate_depth_is_a_good_row(tmp_path, make_config):
    row = f'{{"question": "Q", "answer": {"[" * 50}7{"]" * 50}}}'
    (found,), _ = load(tmp_path, make_config, row)
    assert found.answer == "7"


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (
            {"role": "user", "content": None},
            "content of a message of 'user': expected text, got None",
        ),
        ({"role": "user", "content": 2}, "content of a message of 'user': expected text, got 2"),
        ({"role": "user", "content": [{"text": "Q"}]}, "expected text, got [{'text': 'Q'}]"),
        (
            {"role": "User", "content": "Q"},
            "expected a role (system, user, assistant, tool), got 'User'",
        ),
        ({"speaker": "user", "text": "Q"}, "got None; the message has ['speaker', 'text']"),
    ],
)
def test_of_a_message_that_cannot_be_read_the_wrong_part_is_named(
    tmp_path, make_config, message, named
):
    good = {"role": "user", "content": "Q"}
    rows = [{"messages": [message]}, {"messages": [good]}]
    kept, counts = load(tmp_path, make_config, *rows, fields={"messages": "messages"})
    assert len(kept) == 1 and counts["dropped"] == {"bad message": 1}
    assert named in counts["first_bad_rows"][0]["detail"]


@pytest.mark.parametrize("column", ["q", "r", "t"])
def test_a_text_that_no_model_could_read_is_dropped_before_it_is_tokenized(
    tmp_path, make_config, column
):
    fields = {"prompt": "q", "response": "r", "reasoning": "t"}
    row = {"q": "Q", "r": "R", "t": "T"}
    most = {**row, column: "x" * (MOST_CHARACTERS - 50)}
    found, counts = load(
        tmp_path, make_config, most, {**most, column: "x" * MOST_CHARACTERS}, fields=fields
    )
    assert (len(found), counts["dropped"]) == (1, {"too long": 1})
    assert "at most 10,000,000" in counts["first_bad_rows"][0]["detail"]
