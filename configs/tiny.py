"""The shared parts of the tiny study's recipes: its questions, and how its files are read. Not a recipe itself."""

from ml_collections import ConfigDict

from configs import sections

MATH = ("add", "sub", "chain", "mul")
GROUPS = {
    "math": MATH,
    "other": ("sort", "count", "bool", "order"),
    "non_reasoning": ("copy", "reverse", "upper", "join", "get"),
}
LENGTH = 128  # Tokens of the longest question and reply together.


def questions(seed: int = 0) -> ConfigDict:
    """Makes the procedural questions: the base's mixture, the twins' pool, and held-out questions of every task."""
    in_math = {"teacher": 15.0, "short": 40.0, "direct": 45.0}
    half, direct = {"short": 50.0, "direct": 50.0}, {"direct": 100.0}
    tasks = {name: {"weight": 1.0, "styles": in_math} for name in MATH}
    tasks |= {
        "sort": {"weight": 0.6, "styles": direct},
        "count": {"weight": 1.5, "styles": half},
        "bool": {"weight": 0.9, "styles": half},
        "order": {"weight": 2.5, "styles": {"short": 75.0, "direct": 25.0}},
        "copy": {"weight": 0.3, "styles": direct},
        "reverse": {"weight": 1.0, "styles": direct},
        "upper": {"weight": 0.3, "styles": direct},
        "join": {"weight": 0.9, "styles": direct},
        "get": {"weight": 3.5, "styles": direct},
    }
    return sections.procedural(
        seed=seed,
        groups={"math": 27.0, "other": 42.0, "non_reasoning": 31.0},
        tasks=tasks,
        base_count=60_000,
        twin_tasks=MATH,
        twin_count=2048,
        twin_style="teacher",
        development_count=110,
        test_count=110,
        # There are only 720 products, and an eighth of them is in each held-out split.
        fewer={"mul": 70},
    )


def replies(file: str) -> ConfigDict:
    """Makes a dataset of questions with a reply to learn."""
    fields = {"id": "id", "prompt": "question", "answer": "answer", "response": "response"}
    return sections.dataset(f"{{workdir}}/questions/{file}", fields, task="hash_answer")


def bare(file: str) -> ConfigDict:
    """Makes a dataset of questions with an answer to find."""
    fields = {"id": "id", "prompt": "question", "answer": "answer"}
    return sections.dataset(f"{{workdir}}/questions/{file}", fields, task="hash_answer")


def distilled(response: str) -> ConfigDict:
    """Makes a dataset of the rows that `jaxreason distill` wrote into the working directory; `response` is learned."""
    fields = {"id": "id", "prompt": "question", "answer": "answer", "response": response}
    return sections.dataset("{workdir}/distill/data/*.jsonl", fields, task="hash_answer")


def evaluation(split: str) -> ConfigDict:
    """Evaluates all held-out questions of a split ("development" or "test"), greedily and at temperature 1."""
    own = {
        name: {"label": name, "group": group, "data": bare(f"{split}/{name}.jsonl")}
        for group, names in GROUPS.items()
        for name in names
    }
    samples = {"greedy": 1, "t1": 1}
    return sections.evaluation(
        {name: {"limit": 0, "samples": samples} for name in own},
        {"greedy": sections.decoding(0.0, 80), "t1": sections.decoding(1.0, 80)},
        own=own,
        sampler=sections.sampler(256, LENGTH + 32, prefill_tokens=1024),
    )
