"""What every benchmark asks, word for word, from its file and from the hub."""

import collections

import pytest
from benchmark_rows import GPQA, HUB, local_hub, write_csv, write_files

from jaxreason.evaluation.acpbench_examples import worked_text
from jaxreason.evaluation.benchmarks import BENCHMARKS, load_items
from jaxreason.tasks.registry import TASKS

BOX = (
    "\n\nReason step by step. Give the final answer at the end, inside \\boxed{}, and nothing else "
    "in the box."
)
LETTER = (
    "\n\nThink about it step by step. Then end with a line of its own that reads `Answer: X`, where "
    "X is the letter of the right option."
)
DIALOGUE = "Ada ran home. It rained."
JUDGE = (
    " contain anything that is made up: wrong, or not borne out by what is given? Think about it "
    "first. Then end with a line of its own that reads `Judgement: Yes` or `Judgement: No`."
)
# (benchmark, prompt) -> the last message of its first question, or its end where it begins with "...".
ASKED = {
    ("math500", "boxed"): "What is $x_0$?" + BOX,
    ("aime24", "boxed"): "What is $x_0$?" + BOX,
    ("aime25", "boxed"): "What is $x_0$?" + BOX,
    ("gsm8k", "boxed"): "How many?" + BOX,
    ("olympiadbench", "boxed"): "Solve." + BOX,
    ("olympiadbench", "paper"): (
        "Solve this problem step by step. At the end present the result as: Final Answer: "
        "\\boxed{result}.\nProblem: Solve.\nAnswer:"
    ),
    ("gpqa_diamond", "letter"): "How far is 0 m?\n\nA. 0 m\nB. 1 m\nC. 3 m\nD. 2 m" + LETTER,
    ("gpqa_diamond", "paper"): (
        "Answer with the letter of the right option alone (A, B, C or D), inside \\boxed{}.\n"
        "Problem: How far is 0 m?\nOptions: A) 2 m, B) 1 m, C) 3 m, D) 0 m\nAnswer:"
    ),
    ("acpbench", "letter"): "A ferry.\n\nWhich 0?\n\nA. stay\nB. go" + LETTER,
    ("acpbench", "worked"): (
        worked_text("act_reach") + "**Question**: A ferry.  Which 0? A. go. B. stay. **Thoughts**:"
    ),
    ("headqa", "letter"): "It pumps blood:\n\nA. Liver\nB. Heart" + LETTER,
    ("headqa", "answer"): "Question: It pumps blood:\nAnswer:",
    ("mmlu", "letter"): "1 + 1?\n\nA. 4\nB. 2\nC. 3\nD. 1" + LETTER,
    ("coqa", "story"): f"{DIALOGUE}\n\nQ: Who ran?\n\nA: Ada\n\nQ: Why?\n\nA:",
    ("coqa", "short"): (
        f"{DIALOGUE}\n\nQuestions and answers about it:\n\nQ: Who ran?\n\nA: Ada\n\nQ: Why?\n\n"
        "Answer the last question in as few words as you can; with yes or no where that answers it. "
        "You may think first. End with a line of its own that reads `A: ` and then only the short "
        "answer."
    ),
    ("ifeval", "bare"): "Say {it}.",
    ("halueval", "judge"): (
        "Knowledge: Ada ran.\n\nQuestion: Who ran?\n\nAnswer: Ada ran.\n\nDoes the answer" + JUDGE
    ),
    ("halueval", "marks"): (
        "You are a judge of answers. You see a question and an answer. Say whether the answer holds "
        "anything made up or wrong, by the kind of mistake below and by what is known of the world. "
        'Say "Yes" or "No".\n\nThe answer may miss what the question asks for.\n#Question#: Which '
        "river flows through the capital of Austria?\n#Answer#: Vienna\n#Your Judgement#: Yes\n\n"
        'Decide whether the answer holds anything made up or wrong. It MUST be "Yes" or "No".\n\n'
        "#Knowledge: Ada ran.\n#Question#: Who ran?\n#Answer#: Ada ran.\n#Your Judgement#:"
    ),
    ("mc_taco", "question"): (
        "It rained.\n\nQuestion: For how long?\nCandidate answer: 0 days\n\nIs the candidate a "
        "plausible answer to the question? Reply with yes or no only."
    ),
    ("mc_taco", "marks"): "It rained.\nQuestion: For how long?\nAnswer: 0 days\nPlausible:",
}
ASKED |= {("acpbench_test", prompt): ASKED["acpbench", prompt] for prompt in ("letter", "worked")}
STOPS = {
    ("olympiadbench", "paper"): ("Problem:",),
    ("acpbench", "worked"): ("\n\n\n\n", "**Question**:", "**Question:**", "Q:"),
    ("acpbench_test", "worked"): ("\n\n\n\n", "**Question**:", "**Question:**", "Q:"),
    ("coqa", "story"): ("\nQ:",),
    ("halueval", "marks"): ("\n\n",),
}
TWELVE = {
    "math": ["math500", "aime24", "aime25", "olympiadbench"],
    "other": ["livecodebench", "gpqa_diamond", "acpbench", "headqa"],
    "non_reasoning": ["coqa", "ifeval", "halueval", "mc_taco"],
}
CODE = {"livecodebench", "humaneval", "mbpp"}  # tests/evaluation/test_code_benchmarks.py


def text(item):
    return item.example.messages[-1]["content"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_files(root)
    return str(root)


def every_prompt():
    names = [name for name in BENCHMARKS if name not in CODE]
    return [(name, prompt) for name in names for prompt in BENCHMARKS[name].prompts]


def test_the_twelve_of_the_study_are_there_in_their_groups_with_both_variants():
    for group, names in TWELVE.items():
        for name in names:
            assert BENCHMARKS[name].group == group
            assert set(BENCHMARKS[name].variants) == {"robust", "paper"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_variant_has_its_prompt_and_its_task(name):
    benchmark = BENCHMARKS[name]
    for variant in benchmark.variants.values():
        assert variant.prompt in benchmark.prompts and variant.task in TASKS
    assert {variant.prompt for variant in benchmark.variants.values()} == set(benchmark.prompts)


def test_the_texts_of_all_prompts_are_written_down_here():
    assert set(every_prompt()) == set(ASKED)
    assert set(BENCHMARKS) - CODE == set(HUB)


@pytest.mark.parametrize(("name", "prompt"), every_prompt())
def test_a_prompt_asks_in_these_words(name, prompt, folder):
    asked = BENCHMARKS[name].prompts[prompt]
    first = load_items(BENCHMARKS[name].label, asked, "files", folder, 0, 0)[0]
    assert text(first) == ASKED[name, prompt]
    assert asked.stop == STOPS.get((name, prompt), ())


@pytest.mark.parametrize(("name", "prompt"), every_prompt())
def test_the_hub_has_the_same_questions(name, prompt, folder, tmp_path):
    asked = local_hub(BENCHMARKS[name].prompts[prompt], name, tmp_path)
    assert set(HUB[name]) <= {*asked.hub, ""}
    items = load_items("", asked, "hub", "", 0, 0)
    files = load_items("", asked, "files", folder, 0, 0)
    texts, answers = (
        [[of(item) for item in each] for each in (items, files)]
        for of in (text, lambda item: item.example.answer)
    )
    if name == "halueval":  # the hub's candidate is given, the file's is drawn from two
        assert answers[0] == ["yes"] * 3
        texts, answers = [[t.replace("Bob", "Ada") for t in each] for each in texts], [0, 0]
    assert texts[0] == texts[1] and answers[0] == answers[1]
    shown = "choices", "references"
    kept = [
        [{k: i.example.metadata.get(k) for k in shown} for i in each] for each in (items, files)
    ]
    assert kept[0] == kept[1]


def test_halueval_shows_each_kind_by_its_own_marks(folder):
    prompts = BENCHMARKS["halueval"].prompts
    marks = load_items("", prompts["marks"], "files", folder, 0, 0)
    ends = [text(item).rpartition('"No".\n\n')[2] for item in marks]
    said = [end.replace("Bob", "Ada") for end in ends]
    assert said == [
        "#Knowledge: Ada ran.\n#Question#: Who ran?\n#Answer#: Ada ran.\n#Your Judgement#:",
        "#Knowledge: Ada ran.\n#Dialogue History#: [Human]: Who ran?\n#Response#: Ada ran.\n"
        "#Your Judgement#:",
        "#Document#: Ada ran home.\n#Summary#: Ada ran.\n#Your Judgement#:",
    ]
    judge = [text(item) for item in load_items("", prompts["judge"], "files", folder, 0, 0)]
    for asked, judged in zip(judge, ("answer", "next response", "summary")):
        assert asked.endswith(f"Does the {judged}{JUDGE}")


def test_acpbench_shows_each_task_its_own_two_examples(folder):
    items = load_items("", BENCHMARKS["acpbench"].prompts["worked"], "files", folder, 0, 0)
    for subset, count in collections.Counter(item.subset for item in items).items():
        texts = [text(item) for item in items if item.subset == subset]
        assert count == 4 and all(t.startswith(worked_text(subset)) for t in texts)
        assert all(t.count("**Final Answer**") == 2 for t in texts)


def test_the_papers_gpqa_has_the_right_answer_at_d_and_the_robust_one_anywhere(tmp_path):
    rows = [GPQA[0] | {"Record ID": f"r{n}", "Question": f"How far is {n}?"} for n in range(40)]
    write_csv(tmp_path / "benchmarks/gpqa/gpqa_diamond.csv", rows, header=True)
    answers = {
        name: {item.example.answer for item in load_items("", prompt, "files", str(tmp_path), 0, 0)}
        for name, prompt in BENCHMARKS["gpqa_diamond"].prompts.items()
    }
    assert answers == {"paper": {"D"}, "letter": set("ABCD")}
