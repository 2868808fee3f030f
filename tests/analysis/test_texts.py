import json

import numpy as np
import pytest
from sample_lines import SCORED, write_samples
from tiny_pair import make_unit

from jaxreason.analysis.texts import Batching, batches, load_units, padded_length, shortened


def evaluation(folder, ids, benchmark="sums", sample=0, reply=(7, 8), group="math"):
    lines = [
        {"id": name, "sample": s, "prompt_tokens": [1, 2, 3], "tokens": [*reply, s]}
        for name in ids
        for s in range(sample + 1)
    ]
    write_samples(folder, benchmark, "t1", lines)
    row = SCORED | {
        "benchmark": benchmark,
        "group": group,
        "decoding": "t1",
        "primary": True,
        "metric": "right",
    }
    (folder / "scores.json").write_text(json.dumps({"rows": [row]}))
    return folder


def test_texts_are_prompt_and_reply_ids_as_the_evaluation_wrote_them(tmp_path):
    folders = {
        "base": evaluation(tmp_path / "base", ["a", "b"], reply=(7, 8)),
        "tuned": evaluation(tmp_path / "tuned", ["b", "a"], reply=(9,)),
    }
    base, tuned = load_units(folders, "t1", 10, 64)
    assert (base.source, base.group, tuned.source) == ("base", "math", "tuned")
    assert {text.tokens for text in base.texts} == {(1, 2, 3, 7, 8, 0)}
    assert {text.tokens for text in tuned.texts} == {(1, 2, 3, 9, 0)}
    assert all(text.reply_start == 3 for text in base.texts)


def test_texts_of_questions_of_one_cluster_of_a_subset_belong_together(tmp_path):
    lines = [
        {"id": f"{subset}/{name}", "sample": 0, "subset": subset, "cluster": cluster}
        for subset in ("easy", "hard")
        for name, cluster in (("a", "a"), ("b", "a"), ("c", "c"))
    ]
    folder = evaluation(tmp_path / "base", ["a"])
    write_samples(folder, "sums", "t1", [x | {"prompt_tokens": [1], "tokens": [2]} for x in lines])
    (unit,) = load_units({"base": folder}, "t1", 9, 64)
    found = dict(zip((text.id for text in unit.texts), unit.clusters(), strict=True))
    assert found["easy/a"] == found["easy/b"] and found["hard/a"] == found["hard/b"]
    assert len(set(found.values())) == 4
    assert unit.clusters()[0] == 0


def test_a_text_says_whether_it_begins_with_bos_and_ends_with_a_stop_token(tmp_path):
    folder = evaluation(tmp_path / "base", ["a"])  # tokens 1 2 3, then 7 8 0

    def marks(length=64, **head):
        path = next((folder / "samples").glob("*.head.json"))
        path.write_text(json.dumps(json.loads(path.read_text()) | head))
        (text,) = load_units({"base": folder}, "t1", 9, length)[0].texts
        return text.begun, text.ended

    assert marks() == (False, False)  # an evaluation that does not tell
    assert marks(stop_ids=[0, 5], told={"begin": [1]}) == (True, True)
    assert marks(length=5) == (True, False)  # cut before its end
    assert marks(stop_ids=[5], told={"begin": [2]}) == (False, False)


def test_both_sources_read_the_same_items_whatever_the_order_of_the_files(tmp_path):
    names = [f"q{i}" for i in range(30)]
    folders = {
        "base": evaluation(tmp_path / "base", names, sample=1),
        "tuned": evaluation(tmp_path / "tuned", names[::-1]),
    }
    base, tuned = load_units(folders, "t1", 5, 64)
    assert [text.id for text in base.texts] == [text.id for text in tuned.texts]
    assert len(base.texts) == 5 and all(text.tokens[-1] == 0 for text in base.texts)


def test_only_items_that_both_have_are_read(tmp_path):
    folders = {
        "base": evaluation(tmp_path / "base", ["a", "b", "c"]),
        "tuned": evaluation(tmp_path / "tuned", ["c", "b", "x"]),
    }
    assert {text.id for unit in load_units(folders, "t1", 9, 64) for text in unit.texts} == {
        "b",
        "c",
    }


def test_long_texts_are_cut_and_counted_and_those_without_reply_dropped(tmp_path):
    folder = evaluation(tmp_path / "base", ["a"], reply=(7,) * 9)
    cut = load_units({"base": folder}, "t1", 9, 8)[0]
    assert (len(cut.texts[0].tokens), cut.num_cut, cut.num_dropped) == (8, 1, 0)
    dropped = load_units({"base": folder}, "t1", 9, 3)[0]
    assert (len(dropped.texts), dropped.num_dropped) == (0, 1)
    assert "leaves room for it in 3 tokens" in dropped.why_empty and cut.why_empty == ""
    exact = load_units({"base": folder}, "t1", 9, 13)[0]
    assert (len(exact.texts[0].tokens), exact.num_cut) == (13, 0)


def test_items_whose_prompts_leave_no_room_are_passed_over_for_others(tmp_path):
    folder = evaluation(tmp_path / "base", [f"q{i}" for i in range(20)])
    path = folder / "samples" / "sums.own.t1.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    order = [text.id for text in load_units({"base": folder}, "t1", 20, 64)[0].texts]
    for line in lines:
        if line["id"] in (order[0], order[2]):
            line["prompt_tokens"] = [1] * 64
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    unit = load_units({"base": folder}, "t1", 3, 64)[0]
    assert [text.id for text in unit.texts] == [order[1], order[3], order[4]]
    assert unit.num_dropped == 2


def test_evaluations_that_share_nothing_are_refused(tmp_path):
    folders = {
        "base": evaluation(tmp_path / "base", ["a"]),
        "tuned": evaluation(tmp_path / "tuned", ["b"]),
    }
    with pytest.raises(ValueError, match="share no item"):
        load_units(folders, "t1", 9, 64)
    with pytest.raises(ValueError, match="no benchmark has 'greedy' samples"):
        load_units(folders, "greedy", 9, 64)
    with pytest.raises(ValueError, match=r"scores\.json: not found"):
        load_units({"base": tmp_path / "none"}, "t1", 9, 64)


def test_row_lengths_are_few():
    assert [padded_length(n, 100) for n in (1, 32, 33, 64, 65, 100)] == [32, 32, 64, 64, 100, 100]


def test_longer_texts_go_in_fewer_rows_and_each_part_of_a_mesh_has_one():
    on_one, on_four = Batching(8, 256, 512), Batching(8, 256, 512, parts=4)
    assert [on_one.rows_of(n) for n in (16, 32, 64, 100, 128, 512)] == [8, 8, 4, 2, 2, 1]
    assert [on_four.rows_of(n) for n in (16, 32, 64, 100, 128, 512)] == [8, 8, 4, 4, 4, 4]


def test_a_batch_has_no_more_tokens_than_are_allowed():
    sizes = [b.tokens.shape for b in batches(make_unit(), Batching(4, 64, 64))]
    assert sizes == [(2, 32), (2, 32), (1, 64), (1, 64)]


def test_a_unit_is_shortened_to_a_limit_and_what_is_cut_or_lost_is_counted():
    unit = shortened(make_unit(((5, 7), (3, 40), (9, 1))), 9)
    assert [len(text.tokens) for text in unit.texts] == [9, 9]
    assert (unit.num_cut, unit.num_dropped) == (3, 1)


def test_batches_hold_every_text_once_with_the_mask_on_its_reply():
    unit = make_unit()
    seen = {}
    for batch in batches(unit, Batching(2, 128, 64)):
        assert batch.tokens.shape[0] == 2 and batch.tokens.shape[1] in (32, 64)
        for place, row in enumerate(batch.rows):
            text = unit.texts[row]
            length = len(text.tokens)
            assert tuple(batch.tokens[place, :length]) == text.tokens
            assert batch.segment_ids[place].sum() == length
            replies = np.flatnonzero(batch.reply_mask[place])
            assert list(replies) == list(range(text.reply_start, length))
            seen[row] = seen.get(row, 0) + 1
        assert not batch.segment_ids[len(batch.rows) :].any()
    assert seen == {row: 1 for row in range(5)}
