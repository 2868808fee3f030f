r"""The study's first group, and GSM8K: problems whose answer is put into a box.

The later release of the study's code (July 2026) asks MATH-500 and AIME as here: the problem, a blank line, and the
request to reason step by step and to box the answer. (In its wording the brace pair after \boxed is missing, which is
not copied. The first release, of July 2025, had the marks "Problem:" and "Answer:".) So both variants grade the same
samples and differ only in the grader.
"""

from jaxreason.evaluation.benchmark_spec import Benchmark, Hub, QuestionSource, Variant, ask

BOXED = (
    "{prompt}\n\nReason step by step. Give the final answer at the end, inside \\boxed{{}}, "
    "and nothing else in the box."
)
# OlympiadBench in the study's lm-evaluation-harness: the marks are its own, the words are ours.
PROBLEM_ANSWER = (
    "Solve this problem step by step. At the end present the result as: Final Answer: "
    "\\boxed{{result}}.\nProblem: {prompt}\nAnswer:"
)

_PROBLEM = {"prompt": "problem", "answer": "answer"}


def _boxed(label: str, questions: QuestionSource) -> Benchmark:
    return Benchmark(
        label=label,
        group="math",
        prompts={"boxed": ask(questions, BOXED, "math")},
        variants={"robust": Variant("boxed", "math"), "paper": Variant("boxed", "math_paper")},
    )


_OLYMPIAD = QuestionSource(
    fields={"prompt": "question", "answer": "final_answer", "id": "id"},
    files={"": "math/olympiadbench.jsonl"},
    hub={"": Hub("Hothan/OlympiadBench", "train", {"name": "OE_TO_maths_en_COMP"})},
    metadata=("is_multiple_answer", "unit", "error", "subfield", "answer_type"),
)
_GSM8K = QuestionSource(
    fields={"prompt": "question", "answer": "answer"},
    files={"": "math/gsm8k_test.jsonl"},
    hub={"": Hub("openai/gsm8k", "test", {"name": "main"})},
    options={"answer_after": "####"},
)

MATH_BENCHMARKS: dict[str, Benchmark] = {
    "math500": _boxed(
        "MATH-500",
        QuestionSource(
            fields=_PROBLEM | {"id": "unique_id"},
            files={"": "math/math500.jsonl"},
            hub={"": Hub("HuggingFaceH4/MATH-500", "test")},
        ),
    ),
    "aime24": _boxed(
        "AIME24",
        QuestionSource(
            fields=_PROBLEM | {"id": "id"},
            files={"": "math/aime24.jsonl"},
            hub={"": Hub("HuggingFaceH4/aime_2024", "train")},
        ),
    ),
    "aime25": _boxed(
        # All 30: the ids in the file distinguish parts I and II, the hub has a subset for each.
        "AIME25",
        QuestionSource(
            fields=_PROBLEM | {"id": "id"},
            files={"": "benchmarks/aime/evalchemy_aime25.json"},
            hub={
                part: Hub("opencompass/AIME2025", "test", {"name": f"AIME2025-{part}"})
                for part in ("I", "II")
            },
            hub_fields={"prompt": "question", "answer": "answer"},
        ),
    ),
    "olympiadbench": Benchmark(
        label="OlympiadBench",
        group="math",
        prompts={
            "boxed": ask(_OLYMPIAD, BOXED, "math"),
            # The study's stop string: a reply that restates the problem under that word ends there.
            "paper": ask(_OLYMPIAD, PROBLEM_ANSWER, "olympiad_paper", stop=("Problem:",)),
        },
        variants={"robust": Variant("boxed", "math"), "paper": Variant("paper", "olympiad_paper")},
    ),
    "gsm8k": Benchmark(
        label="GSM8K",
        group="math",
        prompts={"boxed": ask(_GSM8K, BOXED, "gsm8k")},
        variants={"robust": Variant("boxed", "gsm8k")},  # Not in the study.
    ),
}
