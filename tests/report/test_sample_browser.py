"""The browser's data is what the sample and grade files hold, whatever a model wrote, in little memory."""

import hashlib
import json
import re
import tracemalloc

import bucket
import pytest
from etils import epath
from sample_lines import GRADER, PROMPT, SCORED, write_samples

from jaxreason.errors import UserError
from jaxreason.report import sample_browser
from jaxreason.report.pages import template_environment
from jaxreason.report.sample_browser import Archive, browser
from jaxreason.report.sample_browser import write_samples as write_browser
from jaxreason.report.sample_choice import KINDS
from jaxreason.report.sample_sets import cut_text, evaluated_models, printable, sample_sets
from jaxreason.report.study_reader import Reader, read_evaluation, read_study

SUMMARY = {"variant": "robust", "labels": {}}
HOSTILE = [
    "</script><script>alert(1)</script><!-- & \" ' \\ `${x}`",
    "null \x00 bell \x07 escape \x1b[31m",
    "lone \ud800 surrogate, pair \U0001f600, line \u2028 and \u2029, right to left \u202e abc",
    "x" * 30_000 + "end",
    "<img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %}",
]


def write_study(folder, lines, runs=("rl/seed_0",), more=()):
    """A study of one benchmark `b` (and of `more` sample files), the same lines for all models but for what `lines`
    gives by model."""
    for model in ("base", *runs):
        said = lines[model] if isinstance(lines, dict) else lines
        write_samples(folder / model / "evaluation", "b", "greedy", said)
        row = SCORED | {"benchmark": "b", "decoding": "greedy", "metric": "right", "primary": True}
        row |= {"mean": 0.5, "n": len(said), "group": "math"}
        rows = [row, *(row | {"prompt": p, "grader": g, "variant": "paper"} for p, g in more)]
        for prompt, grader in more:
            write_samples(folder / model / "evaluation", "b", "greedy", said, prompt, grader)
        text = json.dumps({"model": model, "rows": rows})
        (folder / model / "evaluation" / "scores.json").write_text(text)
    arms = {}
    for run in runs:
        name, seed = run.split("/seed_")
        arms.setdefault(name, []).append(int(seed))
    arms = [{"name": n, "method": "rl", "label": n.upper(), "seeds": s} for n, s in arms.items()]
    about = {"name": "s", "base": "m", "groups": {"b": "math"}, "arms": arms}
    (folder / "study.json").write_text(json.dumps(about | {"decodings": ["greedy"]}))
    return folder


def archive_of(folder, out=None):
    reader = Reader(folder)
    archive = Archive(reader, read_study(reader), SUMMARY)
    write_browser(out or folder / "samples", archive)
    return archive


def entries_in(folder) -> tuple[dict, dict]:
    """Index and entries, as a page gets them from the script files."""
    entries = {}
    for path in folder.glob("[0-9]*.js"):
        call = r"jaxreasonSamples\((\d+),(.*)\);\n"
        number, body = re.fullmatch(call, path.read_text("ascii"), re.DOTALL).groups()
        assert int(number) == int(path.stem)
        entries |= json.loads(body)
    index = re.fullmatch(r"jaxreasonIndex\((.*)\);\n", (folder / "index.js").read_text("ascii"))
    index = json.loads(index[1])
    assert set(index["files"]) == set(entries)
    return index, entries


def at(index, entries, number, who, place):
    """As the page finds a question ("q") or a reply ("m<model>")."""
    ends = index["sets"][number]["ends"]
    part = next(i for i, end in enumerate(ends) if place < end)
    return entries[f"s{number}-{who}-p{part}"][place - (ends[part - 1] if part else 0)]


def marked(right) -> dict:
    return {"scores": {"right": float(right)}}


def test_hostile_texts_come_back_as_they_were(tmp_path):
    lines = [
        {"id": f"q{i}", "prompt": text, "completion": text, "answer": text, "extracted": text}
        for i, text in enumerate(HOSTILE)
    ]
    archive = archive_of(write_study(tmp_path, lines))
    index, entries = entries_in(tmp_path / "samples")
    for place, text in enumerate(HOSTILE):
        shown = cut_text(text, sample_browser.FILE_TEXT)
        question = at(index, entries, 0, "q", place)
        assert (question["id"], question["prompt"]) == (f"q{place}", shown)
        for model in ("m0", "m1"):
            reply = at(index, entries, 0, model, place)
            assert reply["reply"] == reply["grades"][0]["extracted"] == shown
    shown = browser(archive, 100_000)
    assert not re.search(r"[<>&]", shown["script"]) and shown["script"].isascii()
    page = template_environment().get_template("samples.html.jinja").render(data=shown)
    assert page.count("</script>") == 2 and "<img" not in page and "\x00" not in page
    page.encode()  # a lone surrogate would not be written


def test_texts_beyond_the_limit_lose_their_middle_and_say_so():
    text = cut_text("a" * 700 + "b" * 600 + "c" * 500, 900)
    assert text.startswith("a" * 600 + "\n[… 900 characters left out …]\n") and text.endswith("c" * 300)  # fmt: skip
    assert cut_text("short", 900) == "short"
    assert printable("a\x00\x1b\ud800\tz\n") == "a␀␛\ufffd\tz\n"


def test_every_reply_is_found_where_the_index_says_in_whatever_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_browser, "PART_SAMPLES", 3)
    monkeypatch.setattr(sample_browser, "FILE_SIZE", 900)
    models = ("base", "rl/seed_0", "rl/seed_1", "sft/seed_0")
    lines = {
        m: [{"id": f"q{i}", "sample": s, "completion": f"{m} {i} {s}", "prompt": f"{i}" + "?" * (m == "rl/seed_1")}
            for i in range(5) for s in range(2)] for m in models
    }  # fmt: skip
    archive_of(write_study(tmp_path, lines, models[1:]))
    index, entries = entries_in(tmp_path / "samples")
    assert index["sets"][0]["ends"] == [3, 6, 9, 10] and len(set(index["files"].values())) > 2
    labels = [(m["name"], m["seed"], m["base"]) for m in index["models"]]
    assert labels == [("base", None, 0), ("rl", 0, 0), ("rl", 1, 0), ("sft", 0, 0)]
    for number, model in enumerate(models):
        for place in range(10):
            reply = at(index, entries, 0, f"m{number}", place)
            assert reply["reply"] == f"{model} {place // 2} {place % 2}"
            assert reply.get("prompt") == (f"{place // 2}?" if model == "rl/seed_1" else None)


def test_verdicts_tell_right_wrong_and_no_score(tmp_path):
    failed = {"scores": {}, "error": "timeout: 5 s"}
    lines = {
        "base": [{"id": f"q{i}"} | s for i, s in enumerate((marked(1), marked(0.4), failed))],
        "rl/seed_0": [{"id": f"q{i}"} | marked(s) for i, s in enumerate((0, 0.5, 1))],
    }
    archive_of(write_study(tmp_path, lines))
    _, entries = entries_in(tmp_path / "samples")
    assert entries["s0-v"] == {"0": "10-", "1": "011"}
    assert entries["s0-m0-p0"][2]["grades"][0] == {"extracted": "1", **failed}


def test_some_of_each_kind_are_chosen_and_the_same_for_all_arms(tmp_path):
    pairs = [tuple(map(int, kind)) for kind in KINDS] * 10
    lines = {"base": [{"id": f"q{i}"} | marked(b) for i, (b, _) in enumerate(pairs)]}
    runs = ("rl/seed_0", "rl/seed_1", "sft/seed_0")
    for run in runs:
        lines[run] = [{"id": f"q{i}"} | marked(t) for i, (_, t) in enumerate(pairs)]
    archive = archive_of(write_study(tmp_path, lines, runs))
    chosen = archive.gathered.chosen
    assert {(one.model, one.kind, one.rank) for one in chosen} == {
        (model, kind, rank) for model in (1, 3) for kind in range(4) for rank in range(3)
    }
    assert {one.place for one in chosen if one.model == 1} == {
        one.place for one in chosen if one.model == 3
    }
    again = archive_of(tmp_path, tmp_path / "again")
    assert again.gathered.chosen == chosen
    found = json.loads(browser(archive, 100_000)["script"])
    marks = found["data"]["s0-v"]
    both = ["".join(pair) for pair in zip(marks["0"], marks["1"], strict=True)]
    assert sorted(both) == sorted([*KINDS] * 3)
    for place in range(12):
        question, base, tuned = (at(found, found["data"], 0, w, place) for w in ("q", "m0", "m1"))
        number = int(question["id"][1:])
        scores = tuple(r["grades"][0]["scores"]["right"] for r in (base, tuned))
        assert scores == pairs[number]


@pytest.mark.parametrize("budget", [0, 3_000, 20_000, 1_000_000])
def test_what_the_page_holds_fits_its_budget_the_changed_ones_first(tmp_path, budget):
    lines = {
        "base": [{"id": f"q{i}", "completion": "é" * 800} | marked(i % 2) for i in range(20)],
        "rl/seed_0": [{"id": f"q{i}", "completion": "é" * 800} | marked(i < 10) for i in range(20)],
    }
    archive = archive_of(write_study(tmp_path, lines))
    shown = browser(archive, budget)
    found = json.loads(shown["script"])
    assert sum(len(json.dumps(entry)) for entry in found["data"].values()) <= budget * 1.05
    assert shown["num_pairs"] == {0: 0, 3_000: 0, 20_000: 2, 1_000_000: 12}[budget]
    if budget == 20_000:
        marks = found["data"]["s0-v"]
        assert set(zip(marks["0"], marks["1"], strict=True)) == {("1", "0"), ("0", "1")}


def test_two_ways_of_grading_stand_at_one_reply_and_two_ways_of_asking_apart(tmp_path):
    lines = [{"id": "q0"}]
    folder = write_study(tmp_path, lines, more=((PROMPT, "string_answer"), ("first_line", GRADER)))
    reader = Reader(folder)
    study = read_study(reader)
    sets = sample_sets(reader, study, evaluated_models(reader, study), "robust")
    ways = {s.key.prompt: [(g.grader, g.variants) for g in s.gradings] for s in sets}
    assert ways == {
        "first_line": [(GRADER, ("paper",))],
        PROMPT: [(GRADER, ("robust",)), ("string_answer", ("paper",))],
    }
    archive_of(folder)
    index, entries = entries_in(tmp_path / "samples")
    assert [s["label"] for s in index["sets"]] == ["b, paper's way", "b, robust"]
    assert index["sets"][1]["ways"] == ["robust", "paper's way"]
    assert len(entries["s1-m0-p0"][0]["grades"]) == 2


def test_likelihoods_are_shown_with_their_choices(tmp_path):
    choice = {"finish_reason": "choice", "choices": ["yes", "no"], "choice_logprobs": [-1.5, -2.5]}
    archive_of(write_study(tmp_path, [{"id": "q0", "completion": "yes", **choice}]))
    _, entries = entries_in(tmp_path / "samples")
    assert entries["s0-m1-p0"][0]["choices"] == [["yes", -1.5], ["no", -2.5]]


def test_runs_without_an_evaluation_or_without_their_base_are_left_out(tmp_path):
    folder = write_study(tmp_path, [{"id": "q0"}], ("rl/seed_0", "rl/seed_1"))
    (folder / "rl/seed_0/evaluation/scores.json").unlink()
    assert [m.folder for m in archive_of(folder).gathered.models] == ["base", "rl/seed_1"]
    (folder / "base/evaluation/scores.json").unlink()
    archive = archive_of(folder)
    assert archive.gathered.models == [] and browser(archive, 10_000) is None
    assert list((tmp_path / "samples").iterdir()) == []


def test_many_long_replies_are_written_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_browser, "PART_SAMPLES", 20)
    text = "word " * 30_000
    write_study(tmp_path, [{"id": f"q{i}", "completion": text} for i in range(80)])
    tracemalloc.start()
    archive_of(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "base/evaluation/samples/b.own.greedy.jsonl").stat().st_size > 12_000_000
    assert peak < 6_000_000
    assert sum(p.stat().st_size for p in (tmp_path / "samples").iterdir()) < 4_000_000


def test_an_evaluation_is_read_for_its_scores_without_its_texts_in_memory(tmp_path):
    write_study(tmp_path, [{"id": f"q{i}", "completion": "word " * 30_000} for i in range(80)])
    reader = Reader(tmp_path)
    tracemalloc.start()
    found = read_evaluation(reader, "base", "robust")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line["id"] for line in found.samples["b", "greedy"]] == [f"q{i}" for i in range(80)]
    name = "base/evaluation/samples/b.own.greedy.jsonl"
    data = (tmp_path / name).read_bytes()
    assert len(data) > 12_000_000 and peak < 3_000_000
    assert reader.hashes[name] == hashlib.sha256(data).hexdigest()
    (tmp_path / name).write_bytes(data.replace(b"word", b"sword", 1))
    with pytest.raises(UserError, match="line 1: not the grade of sample 0"):
        read_evaluation(Reader(tmp_path), "base", "robust")


def test_on_a_bucket_the_same_files_are_written_and_old_ones_removed(tmp_path, monkeypatch):
    folder = write_study(tmp_path / "study", [{"id": "q0"}, {"id": "q1"}])
    archive_of(folder, tmp_path / "samples")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "samples").iterdir()}
    store = bucket.use(monkeypatch)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        store.objects[f"b/{path.relative_to(folder)}"] = path.read_bytes()
    for _ in range(2):
        archive_of(epath.Path("gs://b"), epath.Path("gs://b/report/samples"))
        found = {k: v for k, v in store.objects.items() if k.startswith("b/report/")}
        assert found == {f"b/report/samples/{name}": data for name, data in expected.items()}
        store.objects["b/report/samples/99.js"] = b"x"
