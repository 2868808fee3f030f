import dataclasses
import json
import zlib

import pytest

from jaxreason.data.examples import (
    Example,
    each_reply,
    load_examples,
    prompt_messages,
    question,
)
from jaxreason.data.rows import DropLog
from jaxreason.errors import UserError


@pytest.fixture
def write(tmp_path):
    """Writes rows as jsonl and gives the path."""

    def to_file(*rows, name="data.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return to_file


def numbered(count, answer="1"):
    return [{"question": f"question {i}?", "answer": answer} for i in range(count)]


def example(text, **changes):
    messages = ({"role": "user", "content": text},)
    plain = Example(text, "t", messages, answer="", source="s", metadata={})
    return dataclasses.replace(plain, **changes)


def load(config):
    return load_examples(config, DropLog())


def test_a_row_becomes_an_example_by_the_field_map_and_template(write, make_config):
    row = {"uid": 7, "q": "1+1?", "a": 2, "why": "Because.", "who": "Be brief.", "level": 3}
    path = write(row | {"thought": "Hm."})
    fields = {"id": "uid", "prompt": "q", "answer": "a", "response": "why"}
    config = make_config(
        path,
        fields=fields | {"system": "who", "reasoning": "thought"},
        prompt_template="Level {level}: {prompt} Use \\boxed{{}}.",
        metadata=("level",),
    )
    assert load(config) == [
        Example(
            id="7",
            task="sums",
            messages=(
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Level 3: 1+1? Use \\boxed{}."},
                {"role": "assistant", "content": "Because.", "reasoning_content": "Hm."},
            ),
            answer="2",
            source=f"file:{path}",
            metadata={"level": 3, "question": "1+1?", "where": f"{path}:1"},
        )
    ]


def test_rows_without_system_or_reasoning_are_good_rows(write, make_config):
    rows = [{"q": "a", "r": "b", "s": "c", "t": "d"}, {"q": "e", "r": "f", "s": None, "t": ""}]
    fields = {"prompt": "q", "response": "r", "system": "s", "reasoning": "t"}
    messages = [item.messages for item in load(make_config(write(*rows), fields=fields))]
    assert messages[1] == (
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
    )
    assert len(messages[0]) == 3


def test_messages_are_taken_as_they_are_in_either_common_form(write, make_config):
    ours = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    theirs = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    path = write({"m": ours}, {"m": theirs}, {"m": []}, {"m": [{"role": "boss", "content": "c"}]})
    drops = DropLog()
    loaded = load_examples(make_config(path, fields={"messages": "m"}), drops)
    assert [item.messages for item in loaded] == [tuple(ours)] * 2
    assert [question(item) for item in loaded] == ["a", "a"]
    assert drops.to_json()[f"file:{path}"]["dropped"] == {"missing field": 1, "bad message": 1}


def test_answers_that_are_lists_become_text(write, make_config):
    rows = [{"question": "a", "answer": ["3"]}, {"question": "b", "answer": [1, 2.5]}]
    assert [item.answer for item in load(make_config(write(*rows)))] == ["3", "1, 2.5"]


def test_answer_and_response_are_cut_as_the_options_say(write, make_config):
    path = write(
        {"question": "a", "answer": "2*3 = <<2*3=6>>6\n#### 6"}, {"question": "b", "answer": "no"}
    )
    options = {"answer_after": "####", "response_remove": "<<.*?>>"}
    fields = {"prompt": "question", "answer": "answer", "response": "answer"}
    loaded = load(make_config(path, fields=fields, options=options))
    assert [item.answer for item in loaded] == ["6"]
    assert loaded[0].messages[-1]["content"] == "2*3 = 6\n#### 6"


def test_a_row_of_whose_answer_nothing_is_left_is_a_bad_row(write, make_config):
    path = write(*({"question": text, "answer": f"so {text}####{text}"} for text in (" 6", "\n ")))
    drops, config = DropLog(), make_config(path, fields={"prompt": "answer", "answer": "answer"})
    loaded = load_examples(dataclasses.replace(config, options={"answer_after": "####"}), drops)
    assert [item.answer for item in loaded] == ["6"]
    (bad,) = drops.to_json()[f"file:{path}"]["first_bad_rows"]
    assert (bad["where"], bad["reason"]) == (f"{path}:2", "empty")
    assert bad["detail"] == "nothing of the answer is left by options.answer_after"


def test_bad_rows_are_dropped_and_counted_with_file_and_number(tmp_path, make_config):
    path = tmp_path / "data.jsonl"
    path.write_bytes(
        b'{"question": "a", "answer": "1"}\n'
        b'{"question": "b"}\n'
        b'{"question": "  ", "answer": "1"}\n'
        b'{"question": "\xff", "answer": "1"}\n'
        b'{"question": "\\ud800", "answer": "1"}\n'
        b'{"question": "c", "answer": null}\n'
        b"oops\n"
    )
    drops = DropLog()
    loaded = load_examples(make_config(path), drops)
    assert [item.id for item in loaded] == ["data.jsonl:1"]
    counts = drops.to_json()[f"file:{path}"]
    assert (counts["rows"], counts["kept"]) == (7, 1)
    assert counts["dropped"] == {"missing field": 2, "empty": 1, "not UTF-8": 2, "not JSON": 1}
    found = [(row["where"], row["reason"]) for row in counts["first_bad_rows"]]
    assert found[0] == (f"{path}:2", "missing field")
    assert found[2] == (f"{path}:4", "not UTF-8")


def test_two_datasets_of_one_file_are_counted_together(write, make_config):
    drops, config = DropLog(), make_config(write(*numbered(5)))
    for limit in (0, 2):
        load_examples(make_config(config.path, limit=limit), drops)
    found = drops.to_json()[f"file:{config.path}"]
    assert (found["rows"], found["kept"], found["left_out"]) == (10, 7, {"limit": 3})


def test_a_column_that_no_row_has_is_an_error_with_the_nearest_name(write, make_config):
    path = write(*numbered(3))
    for changes in (
        {"fields": {"prompt": "qestion"}},
        {"metadata": ("qestion",)},
        {"prompt_template": "{qestion}"},
        {"options": {"group_by": "qestion"}},
    ):
        with pytest.raises(ValueError, match=r"'qestion'.*did you mean 'question'") as error:
            load(make_config(path, **changes))
        assert str(path) in str(error.value)
        assert "columns: question, answer" in str(error.value)


def test_a_missing_header_is_suspected_where_there_could_be_none(tmp_path, make_config):
    (tmp_path / "a.tsv").write_text("1+1?\t2\n2+2?\t4\n")
    with pytest.raises(ValueError, match=r"columns: 1\+1\?, 2.*no header, options.columns"):
        load(make_config(tmp_path / "a.tsv"))


def test_one_file_of_several_without_the_column_is_found(write, make_config, tmp_path):
    write(*numbered(2), name="a.jsonl")
    write({"problem": "x", "answer": "1"}, name="b.jsonl")
    with pytest.raises(ValueError, match=r"b\.jsonl: no row has the column 'question'"):
        load(make_config(tmp_path / "*.jsonl"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "files"}, "did you mean 'file'"),
        ({"fields": {"promt": "question"}}, "did you mean 'prompt'"),
        ({"fields": {"answer": "answer"}}, "must map prompt"),
        ({"fields": {"prompt": "question", "reasoning": "answer"}}, "needs fields.response"),
        ({"fields": {"prompt": "question", "messages": "answer"}}, "already holds"),
        ({"prompt_template": "{prompt} {}"}, "a field needs a name"),
        ({"prompt_template": "Solve."}, "asks the same of every row"),
        ({"prompt_template": "{prompt"}, "double literal braces"),
        ({"options": {"part": "train"}}, "go together"),
        ({"options": {"part": "dev", "test_one_in": 4}}, "expected 'train' or 'test'"),
        ({"options": {"part": "test", "test_one_in": 1}}, "at least 2"),
        ({"options": {"part": "test", "test_one_in": "4"}}, "whole number of at least 2, got '4'"),
        ({"options": {"part": "test", "test_one_in": 2.5}}, "whole number of at least 2, got 2.5"),
        ({"options": {"response_remove": "x"}}, "needs fields.response"),
        (
            {"fields": {"prompt": "question", "answer": "answer"}, "options": {"answer_after": ""}},
            "answer_after: expected a text",
        ),
        ({"options": {"distinct": "0"}}, "distinct: expected 0 or 1, got '0'"),
        ({"options": {"distict": 1}}, "did you mean 'distinct'"),
    ],
)
def test_configs_that_cannot_work_are_refused(write, make_config, changes, expected):
    with pytest.raises(ValueError, match=expected):
        load(make_config(write(*numbered(2)), **changes))


@pytest.mark.parametrize(
    ("fields", "name", "told"),
    [
        (
            {"prompt": "candidate"},
            "question",
            "which is in 'candidate'; set fields.prompt to 'question' and write {candidate} for {prompt} in",
        ),
        ({"messages": "turns"}, "question", "which is in 'turns'; rename the column."),
        ({"prompt": "question"}, "where", "'where' is the name of a row's file and number; rename"),
    ],
)
def test_a_column_whose_place_in_the_metadata_is_taken_is_refused(
    write, make_config, fields, name, told
):
    turns = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "what"}]
    path = write({"question": "a", "candidate": "b", "where": "c", "turns": turns})
    for changes in ({"metadata": (name,)}, {"options": {"group_by": f"id, {name}"}}):
        with pytest.raises(UserError) as refused:
            load(make_config(path, fields=fields, **changes))
        assert told in str(refused.value) and f"{next(iter(changes))}" in str(refused.value)


def test_the_question_may_be_kept_where_it_is_the_prompt(write, make_config):
    path = write({"question": "a", "candidate": "b"})
    config = make_config(path, fields={"prompt": "question"}, prompt_template="{candidate}?")
    (one,) = load(dataclasses.replace(config, metadata=("question", "candidate")))
    assert (one.metadata["question"], one.messages[0]["content"]) == ("a", "b?")


def test_ids_that_occur_twice_are_refused_with_both_rows(write, make_config):
    path = write({"id": 1, "question": "a"}, {"id": 1, "question": "b"})
    with pytest.raises(ValueError, match=r"data\.jsonl:2: id '1' was used before, in .*jsonl:1"):
        load(make_config(path, fields={"id": "id", "prompt": "question"}))


def test_nothing_left_is_an_error_that_gives_the_reasons(write, make_config):
    with pytest.raises(ValueError, match=r"2 rows, 0 kept, empty 2; first: .*data\.jsonl:1"):
        load(make_config(write(*numbered(2, answer=" "))))


def test_limit_chooses_by_seed_and_keeps_the_order_of_the_file(write, make_config):
    path = write(*numbered(50))
    drops = DropLog()
    chosen = [e.id for e in load_examples(make_config(path, limit=10, seed=1), drops)]
    numbers = [int(item.rpartition(":")[2]) for item in chosen]
    assert len(numbers) == 10
    assert numbers == sorted(numbers) != list(range(1, 11))
    assert [e.id for e in load(make_config(path, limit=10, seed=1))] == chosen
    assert [e.id for e in load(make_config(path, limit=10, seed=2))] != chosen
    assert set(chosen) < {e.id for e in load(make_config(path, limit=20, seed=1))}
    assert drops.to_json()[f"file:{path}"]["left_out"] == {"limit": 40}


def test_limit_counts_groups_where_rows_belong_together(write, make_config):
    rows = [{"question": f"q{i // 3}", "answer": str(i)} for i in range(30)]
    loaded = load(make_config(write(*rows), limit=4, options={"group_by": "question"}))
    assert len(loaded) == 12
    assert len({question(item) for item in loaded}) == 4


@pytest.mark.parametrize("nothing", [{}, {"passage": None}, {"passage": " "}])
def test_rows_without_a_value_to_group_by_are_groups_of_their_own(write, make_config, nothing):
    rows = [{"question": f"q{i}", "answer": str(i), "passage": "p"} for i in range(3)]
    rows += [{"question": f"q{i}", "answer": str(i), **nothing} for i in range(3, 20)]
    loaded = load(make_config(write(*rows), limit=3, options={"group_by": "passage"}))
    alone = {question(item) for item in loaded} - {"q0", "q1", "q2"}
    assert len(loaded) - len(alone) in (0, 3)
    assert len(alone) == (3 if len(loaded) == len(alone) else 2)


def test_parts_divide_questions_by_crc32_whatever_the_template(write, make_config):
    path = write(*numbered(200))
    sides = {}
    for part, template in (("train", "{prompt}"), ("test", "Solve. {prompt}")):
        options = {"part": part, "test_one_in": 4}
        config = make_config(path, prompt_template=template, options=options)
        sides[part] = {question(item) for item in load(config)}
    assert sides["test"] == {
        row["question"] for row in numbered(200) if zlib.crc32(row["question"].encode()) % 4 == 0
    }
    assert sides["train"] == {row["question"] for row in numbered(200)} - sides["test"]
    assert 30 < len(sides["test"]) < 70


def test_distinct_keeps_the_first_of_equal_questions(write, make_config):
    rows = [{"question": text, "answer": str(i)} for i, text in enumerate("abacb")]
    loaded = load(make_config(write(*rows), options={"distinct": 1}))
    assert [(question(e), e.answer) for e in loaded] == [("a", "0"), ("b", "1"), ("c", "3")]


def test_conversations_are_cut_before_or_after_each_reply():
    roles = ("system", "user", "assistant", "user", "assistant")
    messages = tuple({"role": role, "content": str(i)} for i, role in enumerate(roles))
    whole = example("x", messages=messages)
    assert prompt_messages(whole) == messages[:4]
    assert prompt_messages(example("y")) == example("y").messages
    assert [item.messages for item in each_reply(whole)] == [messages[:3], messages]
    assert [item.id for item in each_reply(whole)] == ["x#0", "x#1"]


REAL = [
    (
        "math/math500.jsonl",
        {"prompt": "problem", "answer": "answer", "id": "unique_id"},
        {},
        500,
        0,
    ),
    ("math/aime24.jsonl", {"prompt": "problem", "answer": "answer", "id": "id"}, {}, 30, 0),
    ("math/aime25.jsonl", {"prompt": "problem", "answer": "answer", "id": "id"}, {}, 15, 0),
    (
        "math/gsm8k_test.jsonl",
        {"prompt": "question", "answer": "answer"},
        {"answer_after": "####"},
        1319,
        0,
    ),
    (
        "math/gsm8k_train.jsonl",
        {"prompt": "question", "answer": "answer"},
        {"answer_after": "####"},
        7473,
        0,
    ),
    (
        "math/olympiadbench.jsonl",
        {"prompt": "question", "answer": "final_answer", "id": "id"},
        {},
        675,
        0,
    ),
    ("math/deepscaler_aime_train.json", {"prompt": "problem", "answer": "answer"}, {}, 975, 0),
    ("math/deepscaler_math_train.json", {"prompt": "problem", "answer": "answer"}, {}, 7470, 4),
    ("general/acpbench_mcq_*.json", {"prompt": "question", "answer": "answer"}, {}, 280, 0),
    ("general/ifeval.jsonl", {"prompt": "prompt", "id": "key"}, {}, 541, 0),
    (
        "general/mc_taco_test.tsv",
        {"prompt": "question", "answer": "label"},
        {"columns": "context,question,candidate,label,category"},
        9442,
        0,
    ),
]


@pytest.mark.parametrize(("path", "fields", "options", "kept", "dropped"), REAL)
def test_real_benchmark_files_load_whole(shared, make_config, path, fields, options, kept, dropped):
    drops = DropLog()
    config = make_config(shared("data") / path, fields=fields, options=options)
    assert len(load_examples(config, drops)) == kept
    assert sum(drops.to_json()[config.label]["dropped"].values()) == dropped


def one_reply(**fields):
    return [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2", **fields}]


def load_rows(make_config, tmp_path, *conversations):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in conversations))
    config, drops = make_config(path, fields={"messages": "messages"}), DropLog()
    return load_examples(config, drops), drops.to_json()[config.label]


@pytest.mark.parametrize(
    "name", ["reasoning_content", "reasoning", "thinking", "thought", "chain_of_thought"]
)
def test_thinking_is_read_under_the_names_that_it_has(make_config, tmp_path, name):
    (found,), _ = load_rows(make_config, tmp_path, one_reply(**{name: "One and one."}))
    assert found.messages[1]["reasoning_content"] == "One and one."


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tool_calls": [{"function": {"name": "add"}}]}, "tool_calls"),
        ({"function_call": {"name": "add"}}, "function_call"),
        ({"images": ["a.png"]}, "images"),
        ({"weight": 0}, "weight"),
        ({"thinking": "a", "reasoning": "b"}, "reasoning, thinking differ"),
        ({"thinking": ["a"]}, "thinking: expected text"),
    ],
)
def test_a_row_whose_messages_say_more_than_is_read_is_dropped_and_counted(
    make_config, tmp_path, fields, named
):
    kept, counts = load_rows(make_config, tmp_path, one_reply(**fields), one_reply())
    assert len(kept) == 1 and counts["dropped"] == {"bad message": 1}
    assert named in counts["first_bad_rows"][0]["detail"]


@pytest.mark.parametrize("odd", [["x"], {"a": 1}, [], 5, None])
def test_a_role_or_a_name_of_any_type_is_a_bad_message(make_config, tmp_path, odd):
    bad = [{"from": odd, "value": "1+1?"}, one_reply()[1]]
    bad_role = [{"role": odd, "content": "1+1?"}, one_reply()[1]]
    kept, counts = load_rows(make_config, tmp_path, bad, bad_role, one_reply())
    assert len(kept) == 1 and counts["dropped"] == {"bad message": 2}


@pytest.mark.parametrize(
    ("name", "good"),
    [("human", True), ("alice", True), (None, True), ("gpt", False), (["x"], False), (5, False)],
)
def test_a_name_beside_a_role_must_not_mean_another_role(make_config, tmp_path, name, good):
    user = {"role": "user", "content": "1+1?", "from": name}
    kept, counts = load_rows(make_config, tmp_path, [user, one_reply()[1]], one_reply())
    assert len(kept) == 1 + good
    assert counts["dropped"] == ({} if good else {"bad message": 1})


def test_null_in_one_form_of_a_message_leaves_the_other_form(make_config, tmp_path):
    user = {"role": None, "content": None, "from": "human", "value": "1+1?"}
    reply = {"role": "assistant", "content": "2", "from": float("nan"), "value": None}
    (found,), _ = load_rows(make_config, tmp_path, [user, reply])
    assert list(found.messages) == [{"role": "user", "content": "1+1?"}, one_reply()[1]]


@pytest.mark.parametrize(
    ("value", "good"), [("2", True), (None, True), ("", True), (0.7, True), ("3", False)]
)
def test_a_message_has_one_text(make_config, tmp_path, value, good):
    kept, counts = load_rows(make_config, tmp_path, one_reply(value=value), one_reply())
    assert len(kept) == 1 + good
    assert counts["dropped"] == ({} if good else {"bad message": 1})


def test_thinking_of_a_user_is_no_thinking(make_config, tmp_path):
    messages = [{"role": "user", "content": "1+1?", "thinking": "hm"}, one_reply()[1]]
    _, counts = load_rows(make_config, tmp_path, messages, one_reply())
    assert "a message of 'user' has no thinking" in counts["first_bad_rows"][0]["detail"]


def test_empty_fields_say_nothing_and_others_are_named(make_config, tmp_path, caplog):
    nothing = {"tool_calls": None, "images": [], "refusal": None, "weight": 1, "thinking": ""}
    nothing |= dict.fromkeys(("train", "prefix", "reasoning", "cot"), float("nan"))
    kept, counts = load_rows(
        make_config, tmp_path, one_reply(**nothing), one_reply(score=3, name="gpt", id="")
    )
    assert [one.messages[1] for one in kept] == [{"role": "assistant", "content": "2"}] * 2
    assert counts["unread"] == {"messages[].score": 1, "messages[].name": 1}
    assert "the field messages[].score is not used (1 rows have one)" in caplog.text
