"""The study's third group: CoQA, IFEval, HaluEval and MC-TACO.

Marks such as `#Your Judgement#:` and `Plausible:` are the benchmarks' format; the words are ours.
"""

from jaxreason.evaluation.benchmark_spec import Benchmark, Hub, QuestionSource, Variant, ask

# CoQA in the study: only the story and the conversation so far (a later version of its code asks for short answers
# before it; the released replies were not asked in this way). The reply ends where a model continues with a question of
# its own, and also where it repeats the question that was asked.
STORY = "{story}{dialogue}\n\nQ: {question}\n\nA:"
SHORT_ANSWER = (
    "{story}\n\nQuestions and answers about it:{dialogue}\n\nQ: {question}\n\n"
    "Answer the last question in as few words as you can; with yes or no where that answers it. You "
    "may think first. End with a line of its own that reads `A: ` and then only the short answer."
)
# The reply is not sampled: the likelihoods of "no" and of "yes" as the reply are compared.
PLAUSIBLE = (
    "{sentence}\n\nQuestion: {question}\nCandidate answer: {candidate}\n\n"
    "Is the candidate a plausible answer to the question? Reply with yes or no only."
)
PLAUSIBLE_MARKS = "{sentence}\nQuestion: {question}\nAnswer: {candidate}\nPlausible:"

# HaluEval, robust: kind -> the context that is shown, and the text that is judged.
_SHOWN = {
    "qa": ("Knowledge: {knowledge}\n\nQuestion: {question}\n\nAnswer: {candidate}", "answer"),
    "dialogue": (
        "Knowledge: {knowledge}\n\nDialogue: {dialogue_history}\n\nNext response: {candidate}",
        "next response",
    ),
    "summarization": ("Document: {document}\n\nSummary: {candidate}", "summary"),
}
JUDGE = {
    kind: f"{shown}\n\nDoes the {judged} contain anything that is made up: wrong, or not borne out by "
    f"what is given? Think about it first. Then end with a line of its own that reads `Judgement: Yes` "
    f"or `Judgement: No`."
    for kind, (shown, judged) in _SHOWN.items()
}
# HaluEval in the study: an instruction with one worked example. Nothing asks for the verdict on the first line, but
# only that line is read, and the reply ends at the first blank line: a model that thinks before it judges scores near
# 0.
_INSTRUCTION = (
    "You are a judge of {what}. You see {given}. Say whether the {judged} holds anything made up or "
    'wrong, by the kind of mistake below and by what is known of the world. Say "Yes" or "No".\n\n'
)
_RULE = 'Decide whether the {judged} holds anything made up or wrong. It MUST be "Yes" or "No".\n\n'


def _judge_marks(what: str, given: str, judged: str, example: str, marks: str) -> str:
    instruction = _INSTRUCTION.format(what=what, given=given, judged=judged)
    return f"{instruction}{example}\n\n{_RULE.format(judged=judged)}{marks}\n#Your Judgement#:"


JUDGE_MARKS = {
    "qa": _judge_marks(
        "answers",
        "a question and an answer",
        "answer",
        "The answer may miss what the question asks for.\n#Question#: Which river flows through the "
        "capital of Austria?\n#Answer#: Vienna\n#Your Judgement#: Yes",
        "#Knowledge: {knowledge}\n#Question#: {question}\n#Answer#: {candidate}",
    ),
    "dialogue": _judge_marks(
        "responses",
        "the history of a dialogue and a response",
        "response",
        "The response may put a similar name in the place of the right one.\n#Dialogue History#: "
        "[Human]: Who wrote Faust? I have to read it. [Assistant]: It is by Goethe. [Human]: What else "
        "did he write?\n#Response#: Goethe wrote The Robbers, too.\n#Your Judgement#: Yes",
        "#Knowledge: {knowledge}\n#Dialogue History#: {dialogue_history}\n#Response#: {candidate}",
    ),
    "summarization": _judge_marks(
        "summaries",
        "a document and a summary",
        "summary",
        "The summary may say what the document does not.\n#Document#: The town's old bridge was closed "
        "on Monday after cracks had been found. Repairs take three weeks.\n#Summary#: A bridge was "
        "closed after two people were hurt on it.\n#Your Judgement#: Yes",
        "#Document#: {document}\n#Summary#: {candidate}",
    ),
}

_COQA = QuestionSource(
    fields={"prompt": "question", "answer": "answer", "id": "id"},
    files={"": "benchmarks/coqa/coqa-dev-v1.0*.json"},
    hub={"": Hub("EleutherAI/coqa", "validation")},
    metadata=("references",),
    options={"rows": "coqa"},
)
_IFEVAL = QuestionSource(
    fields={"prompt": "prompt", "id": "key"},
    files={"": "general/ifeval.jsonl"},
    hub={"": Hub("google/IFEval", "train")},
    metadata=("instruction_id_list", "kwargs"),
)
_HALUEVAL = QuestionSource(
    fields={"prompt": "candidate", "answer": "answer"},
    files={kind: f"benchmarks/halueval/{kind}_data.json" for kind in _SHOWN},
    hub={kind: Hub("pminervini/HaluEval", "data", {"name": f"{kind}_samples"}) for kind in _SHOWN},
    options={"rows": "halueval", "pick": 0},
)
_MC_TACO = QuestionSource(
    fields={"prompt": "question", "answer": "label"},
    files={"": "general/mc_taco_test.tsv"},
    # The repository itself contains a program; this branch is the hub's conversion of it.
    hub={"": Hub("CogComp/mc_taco", "test", {"revision": "refs/convert/parquet"})},
    metadata=("sentence", "question", "category"),
    options={"rows": "mc_taco", "group_by": "sentence,question"},
    file_options={"columns": "sentence,question,candidate,label,category"},
)

NON_REASONING_BENCHMARKS: dict[str, Benchmark] = {
    "coqa": Benchmark(
        label="CoQA",
        group="non_reasoning",
        prompts={
            "short": ask(_COQA, SHORT_ANSWER, "coqa"),
            "story": ask(_COQA, STORY, "coqa_paper", stop=("\nQ:",)),
        },
        variants={"robust": Variant("short", "coqa"), "paper": Variant("story", "coqa_paper")},
    ),
    # One of the study's two ways of measuring it cuts every reply at 512 tokens and leaves out 41 of the 541 prompts.
    # It is not known which of the two its tables show. Here all prompts are asked, in full length.
    "ifeval": Benchmark(
        label="IFEval",
        group="non_reasoning",
        prompts={"bare": ask(_IFEVAL, "{prompt}", "ifeval")},
        variants={"robust": Variant("bare", "ifeval"), "paper": Variant("bare", "ifeval_paper")},
    ),
    "halueval": Benchmark(
        label="HaluEval",
        group="non_reasoning",
        prompts={
            "judge": ask(_HALUEVAL, JUDGE, "halueval"),
            "marks": ask(_HALUEVAL, JUDGE_MARKS, "halueval_paper", stop=("\n\n",)),
        },
        variants={
            "robust": Variant("judge", "halueval"),
            "paper": Variant("marks", "halueval_paper"),
        },
    ),
    "mc_taco": Benchmark(
        label="MC-TACO",
        group="non_reasoning",
        prompts={
            "question": ask(_MC_TACO, PLAUSIBLE, "mc_taco"),
            "marks": ask(_MC_TACO, PLAUSIBLE_MARKS, "mc_taco_paper"),
        },
        variants={
            "robust": Variant("question", "mc_taco"),
            "paper": Variant("marks", "mc_taco_paper"),
        },
    ),
}
