"""The study's second group, other reasoning, and MMLU: questions with options.

In robust variants a model may think and gives the letter on a line of its own, with the options in an order that
`OPTIONS_SEED` draws for each question, so that a preference for one letter has no effect.
"""

from jaxreason.evaluation.acpbench_examples import EXAMPLES, worked_text
from jaxreason.evaluation.benchmark_spec import Benchmark, Hub, QuestionSource, Variant, ask

OPTIONS_SEED = 0
_ANSWER_LINE = (
    "Think about it step by step. Then end with a line of its own that reads `Answer: X`, where X is "
    "the letter of the right option."
)
LETTER = f"{{question}}\n\n{{options}}\n\n{_ANSWER_LINE}"
CONTEXT_LETTER = f"{{context}}\n\n{LETTER}"
# The study's marks; the words are ours. The options are in the "paper" order, which has the right one at D in every
# question: a model that always says D has 100 %, and one that never says it has 0 %.
PROBLEM_OPTIONS = (
    "Answer with the letter of the right option alone (A, B, C or D), inside \\boxed{{}}.\n"
    "Problem: {question}\nOptions: {options_in_line}\nAnswer:"
)
# HEAD-QA in the study: the likelihood of the full text of each option as a continuation is compared; none is shown.
QUESTION_ANSWER = "Question: {question}\nAnswer:"
# ACPBench in the study: two worked examples, and stop strings that also end a chain of thought which restates the
# question.
WORKED = {
    name: worked_text(name).replace("{", "{{").replace("}", "}}")
    + "**Question**: {context}  {asked} **Thoughts**:"
    for name in EXAMPLES
}
_WORKED_STOP = ("\n\n\n\n", "**Question**:", "**Question:**", "Q:")

_CHOICE = {"prompt": "question", "answer": "answer"}
_GPQA = QuestionSource(
    fields=_CHOICE | {"id": "id"},
    files={"": "benchmarks/gpqa/gpqa_diamond.csv"},  # Its authors ask that nobody publishes it.
    hub={"": Hub("Idavidrein/gpqa", "train", {"name": "gpqa_diamond"})},
    metadata=("choices", "domain"),
    options={"rows": "gpqa"},
)
_HEADQA = QuestionSource(
    fields=_CHOICE | {"id": "id"},
    files={"": "benchmarks/headqa/test_HEAD_EN.json"},
    hub={"": Hub("EleutherAI/headqa", "test", {"name": "en"})},
    metadata=("choices", "category"),
    options={"rows": "headqa"},
)
_MMLU = QuestionSource(
    fields=_CHOICE,
    files={"": "benchmarks/mmlu/test/*_test.csv"},
    hub={"": Hub("cais/mmlu", "test", {"name": "all"})},
    metadata=("choices", "subject"),
    options={"rows": "mmlu"},
    file_options={"columns": "question,A,B,C,D,answer"},
)
# Name of the local file -> name on the hub and of the official test set.
_ACP_TASKS = {
    **{"act_reach": "areach", "app": "app", "just": "just", "land": "land"},
    **{"prog": "prog", "reach": "reach", "val": "val"},
}


def _acpbench(label: str, file: str, split: str, official: bool) -> Benchmark:
    questions = QuestionSource(
        fields=_CHOICE | {"id": "id"},
        files={name: file.format(hub if official else name) for name, hub in _ACP_TASKS.items()},
        hub={
            name: Hub("ibm-research/acp_bench", split, {"name": f"acp_{hub}_mcq"})
            for name, hub in _ACP_TASKS.items()
        },
        metadata=("choices", "group"),
        options={"rows": "acpbench"},
    )
    return Benchmark(
        label=label,
        group="other",
        prompts={
            "letter": ask(questions, CONTEXT_LETTER, "multiple_choice", shuffle=OPTIONS_SEED),
            "worked": ask(questions, WORKED, "acpbench_paper", _WORKED_STOP, shuffle="none"),
        },
        variants={
            "robust": Variant("letter", "multiple_choice"),
            "paper": Variant("worked", "acpbench_paper"),
        },
    )


OTHER_BENCHMARKS: dict[str, Benchmark] = {
    "gpqa_diamond": Benchmark(
        label="GPQA-Diamond",
        group="other",
        prompts={
            "letter": ask(_GPQA, LETTER, "multiple_choice", shuffle=OPTIONS_SEED),
            "paper": ask(_GPQA, PROBLEM_OPTIONS, "gpqa_paper", shuffle="paper"),
        },
        variants={
            "robust": Variant("letter", "multiple_choice"),
            "paper": Variant("paper", "gpqa_paper"),
        },
    ),
    # The study scores the 280 published questions of the validation split, and calls them the test set.
    "acpbench": _acpbench("ACPBench", "general/acpbench_mcq_{}.json", "validation", False),
    "acpbench_test": _acpbench(
        "ACPBench test", "benchmarks/acpbench/{}.test.mcq.json.gz", "test", True
    ),
    "headqa": Benchmark(
        label="HeadQA",
        group="other",
        prompts={
            "letter": ask(_HEADQA, LETTER, "multiple_choice", shuffle=OPTIONS_SEED),
            "answer": ask(_HEADQA, QUESTION_ANSWER, "headqa", shuffle="none"),
        },
        variants={
            "robust": Variant("letter", "multiple_choice"),
            "paper": Variant("answer", "headqa"),
        },
    ),
    "mmlu": Benchmark(
        label="MMLU",
        group="other",
        prompts={"letter": ask(_MMLU, LETTER, "multiple_choice", shuffle=OPTIONS_SEED)},
        variants={"robust": Variant("letter", "multiple_choice")},  # Not in the study.
    ),
}
