"""Made-up questions of every benchmark, as its file holds them and as the hub shows them."""

import csv
import dataclasses
import gzip
import json
from pathlib import Path

import datasets

ACP = ("act_reach", "app", "just", "land", "prog", "reach", "val")
PROBLEMS = [{"problem": f"What is $x_{n}$?", "answer": str(n)} for n in range(3)]
GSM8K = [
    {"question": "How many?", "answer": f"2*{n} = <<2*{n}={2 * n}>>\n#### {2 * n}"} for n in (1, 2)
]
OLYMPIAD = {"id": 1, "question": "Solve.", "final_answer": ["1, 2"], "is_multiple_answer": True}
OLYMPIAD |= {"unit": None, "error": None, "subfield": "Algebra", "answer_type": "Numerical"}
GPQA = [
    {"Record ID": f"rec{n}", "Question": f"How far is {n} m?", "Correct Answer": f"{n} m"}
    | {f"Incorrect Answer {k}": f"{n + k} m" for k in (1, 2, 3)}
    | {"High-level domain": "Physics", "Subdomain": "Optics"}
    for n in range(2)
]
HEADQA_ANSWERS = [{"aid": n, "atext": text} for n, text in enumerate(["Heart", "Liver"], start=1)]
HEADQA = {"qid": "7", "qtext": "It pumps blood:", "ra": "1", "answers": HEADQA_ANSWERS}
HEADQA_EXAMS = {"exams": {"2016_B": {"name": "2016_B", "category": "biology", "data": [HEADQA]}}}
MMLU = [{"question": f"1 + {n}?", "choices": ["1", "2", "3", "4"], "answer": n} for n in (1, 2)]
STORY = {"id": "s1", "source": "own", "story": "Ada ran home. It rained."}
ASKED = {"input_text": ["Who ran?", "Why?"], "turn_id": [1, 2]}
TOLD = {"input_text": ["Ada", "rain"], "turn_id": [1, 2]}
COQA_HUB = STORY | {"questions": ASKED, "answers": TOLD, "additional_answers": {"0": TOLD}}
IFEVAL = {"key": 1000, "prompt": "Say {it}.", "instruction_id_list": ["punctuation:no_comma"]}
IFEVAL |= {"kwargs": [{}]}
HALUEVAL = {
    "qa": {"knowledge": "Ada ran.", "question": "Who ran?"},
    "dialogue": {"knowledge": "Ada ran.", "dialogue_history": "[Human]: Who ran?"},
    "summarization": {"document": "Ada ran home."},
}
JUDGED = {"qa": "answer", "dialogue": "response", "summarization": "summary"}
PAIRS = [
    {"sentence": "It rained.", "question": f"For how {w}?", "candidate": f"{n} days"}
    | {"label": "yes" if n else "no", "category": "Event Duration"}
    for w in ("long", "much")
    for n in range(3)
]


def turned(lists):
    """An object of lists as a list of objects: the original file of CoQA."""
    return [dict(zip(lists, values)) for values in zip(*lists.values())]


def acpbench(task):
    return [
        {"id": n, "group": task, "context": "A ferry.", "answer": "B", "query": "Which?"}
        | {"question": f"Which {n}? A. go. B. stay."}
        | {"choices": {"text": ["go", "stay"], "label": ["A", "B"]}}
        for n in range(4)
    ]


def halueval_pairs(kind):
    judged = JUDGED[kind]
    pair = {f"right_{judged}": "Ada ran.", f"hallucinated_{judged}": "Bob ran."}
    return [HALUEVAL[kind] | pair]


def halueval_samples(kind):
    return [HALUEVAL[kind] | {JUDGED[kind]: "Bob ran.", "hallucination": "yes"}]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_csv(path: Path, rows: list[dict], header: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if header:
            writer.writeheader()
        writer.writerows(rows)


def write_files(root: Path) -> None:
    """The file of every benchmark below the data folder `root`."""
    write_jsonl(
        root / "math/math500.jsonl", [p | {"unique_id": f"u/{p['answer']}"} for p in PROBLEMS]
    )
    numbered = [p | {"id": 60 + n, "answer": n} for n, p in enumerate(PROBLEMS)]
    write_jsonl(root / "math/aime24.jsonl", numbered)
    parts = [p | {"id": f"I-{n + 1}"} for n, p in enumerate(PROBLEMS)]
    write_jsonl(root / "benchmarks/aime/evalchemy_aime25.json", parts)
    write_jsonl(root / "math/gsm8k_test.jsonl", GSM8K)
    write_jsonl(root / "math/olympiadbench.jsonl", [OLYMPIAD])
    write_csv(root / "benchmarks/gpqa/gpqa_diamond.csv", GPQA, header=True)
    for task in ACP:
        write_json(root / f"general/acpbench_mcq_{task}.json", acpbench(task))
        name = "areach" if task == "act_reach" else task
        write_json(root / f"benchmarks/acpbench/{name}.test.mcq.json.gz", acpbench(task))
    write_json(root / "benchmarks/headqa/test_HEAD_EN.json", HEADQA_EXAMS)
    letters = [
        {"question": row["question"], **dict(zip("ABCD", row["choices"]))}
        | {"answer": "ABCD"[row["answer"]]}
        for row in MMLU
    ]
    write_csv(root / "benchmarks/mmlu/test/sums_test.csv", letters, header=False)
    story = STORY | {"questions": turned(ASKED), "answers": turned(TOLD)}
    story |= {"additional_answers": {"0": turned(TOLD)}}
    write_json(root / "benchmarks/coqa/coqa-dev-v1.0.json", {"version": "1.0", "data": [story]})
    write_jsonl(root / "general/ifeval.jsonl", [IFEVAL])
    for kind in HALUEVAL:
        write_jsonl(root / f"benchmarks/halueval/{kind}_data.json", halueval_pairs(kind))
    tsv = "".join("\t".join(pair.values()) + "\n" for pair in PAIRS)
    (root / "general/mc_taco_test.tsv").write_text(tsv)


# Benchmark -> subset -> rows in the hub's shape; "" stands for every subset that is not named.
HUB = {
    "math500": {"": [p | {"unique_id": f"u/{p['answer']}"} for p in PROBLEMS]},
    "aime24": {"": [p | {"id": 60 + n} for n, p in enumerate(PROBLEMS)]},
    "aime25": {
        "I": [{"question": p["problem"], "answer": p["answer"]} for p in PROBLEMS[:2]],
        "II": [{"question": p["problem"], "answer": p["answer"]} for p in PROBLEMS[2:]],
    },
    "gsm8k": {"": GSM8K},
    "olympiadbench": {"": [OLYMPIAD]},
    "gpqa_diamond": {"": GPQA},
    "acpbench": {task: acpbench(task) for task in ACP},
    "acpbench_test": {task: acpbench(task) for task in ACP},
    "headqa": {"": [HEADQA | {"qid": 7, "ra": 1, "name": "2016_B", "category": "biology"}]},
    "mmlu": {"": [row | {"subject": "sums"} for row in MMLU]},
    "coqa": {"": [COQA_HUB]},
    "ifeval": {"": [IFEVAL | {"kwargs": [{"num_words": None}]}]},
    "halueval": {kind: halueval_samples(kind) for kind in HALUEVAL},
    "mc_taco": {
        "": [
            {"sentence": pair["sentence"], "question": pair["question"]}
            | {"answer": pair["candidate"], "label": int(pair["label"] == "yes"), "category": 1}
            for pair in PAIRS
        ]
    },
}


def local_hub(prompt, name: str, root: Path):
    """The prompt with its hub datasets in local copies, below `root`."""
    local = {}
    for subset, dataset in prompt.hub.items():
        rows = HUB[name].get(subset) or HUB[name][""]
        path = root / name / (subset or "all")
        saved = datasets.DatasetDict({dataset.split: datasets.Dataset.from_list(rows)})
        saved.save_to_disk(str(path))
        local[subset] = dataclasses.replace(dataset, path=str(path))
    return dataclasses.replace(prompt, hub=local)
