"""A made-up shifted_tokens.json: counts that follow a size of drift, of words that an arm might promote."""

import numpy as np

from jaxreason.analysis.word_classes import word_class

WORDS = (
    *(" Wait", "Hmm", " Let", " check", " so", " triangle", " answer", "\n\n", " But", " maybe"),
    *(" the", " 12", "$"),
)
TEXT = "The sum of 3 and 4 is 7 . Wait , let me check : 3 + 4 = 7 . So the answer is 7"
THRESHOLD = 0.1


def shifted_tokens_file(size: float, groups: dict[str, str]) -> dict:
    """Of a run whose drift has this size; its draws are its own, so that other files stay as they are."""
    rng = np.random.default_rng(int(1e6 * size) + 1)
    factor = {"math": 1.0, "other": 0.4, "non_reasoning": 0.15}
    sources = ("base", "tuned")
    return {
        "metric": "shifted_tokens",
        "decoding": "t1",
        "variant": "robust",
        "made_with": {"settings": {"shift_threshold": THRESHOLD}},
        "rows": [],
        "groups": [
            row
            for group in dict.fromkeys(groups.values())
            for source in sources
            for row in _group(group, source, 0.05 * size * factor[group], rng)
        ],
        "details": {
            "word_classes": {"logical": {"doubt": ["wait", "hmm"]}},
            "units": [
                _unit(name, source, 0.05 * size * factor[group], rng)
                for name, group in groups.items()
                for source in sources
            ],
        },
    }


def _group(group: str, source: str, share: float, rng) -> list[dict]:
    values = {"shifted": share, "top_changed": 1.5 * share, "js_above": 1.2 * share}
    values |= {"promoted_in_top5": 0.9, "base_entropy.shifted": 1.8, "base_entropy.elsewhere": 0.4}
    values |= {"logical.shifted": 0.4, "logical.elsewhere": 0.1}
    values |= {f"shifted.tenth_{n + 1}": share * (2 if n == 0 else 0.9) for n in range(10)}
    rows = []
    for name, value in values.items():
        draws = value * np.exp(rng.normal(0, 0.08, size=100))
        low, high = np.quantile(draws, [0.025, 0.975])
        row = {"group": group, "source": source, "name": name, "value": value}
        rows.append(row | {"low": low, "high": high, "draws": draws.tolist()})
    return rows


def _unit(name: str, source: str, share: float, rng) -> dict:
    tokens = [_token(n, share, rng) for n in range(len(WORDS))]
    shifted = sum(token["shifted"] for token in tokens)
    kinds = ("logical", "content", "symbol")
    of_class = {kind: [t for t in tokens if t["class"] == kind] for kind in kinds}
    ranks = [[int(rng.integers(1, 400)), int(1 + rng.geometric(0.1)), 1] for _ in range(40)]
    return {
        "benchmark": name,
        "source": source,
        "num_texts": 48,
        "num_cut": 0,
        "num_dropped": 0,
        "num_tokens": 20_000,
        "num_changed": int(1.5 * shifted),
        "num_above": int(1.2 * shifted),
        "num_shifted": shifted,
        "tokens": tokens,
        "num_other_tokens": 0,
        "num_other_shifted": 0,
        "classes": {
            kind: {"shifted": sum(t["shifted"] for t in found), "chosen": 2000}
            for kind, found in of_class.items()
        },
        "view": _view(f"{name}-3"),
        "example": {"id": f"{name}-0", "num_tokens": 812, "num_shifted": shifted // 48}
        | {"tokens": [{"token": n, "text": WORDS[n], "times": 9 - n} for n in range(9)]},
        "num_rank_changed": 4000,
        "points": ranks,
    }


def _token(number: int, share: float, rng) -> dict:
    times = int(rng.poisson(20_000 * share / (number + 2))) + 1
    mean = {"mean": 0.1 + 0.01 * number, "error": 0.02}
    return {
        **{"token": number, "text": WORDS[number], "class": word_class(WORDS[number])},
        **{"shifted": times, "chosen": 2 * times, "num_texts": min(times, 48)},
        **{"base_probability": mean, "tuned_probability": {"mean": 0.7, "error": 0.03}},
        **{
            "base_rank": {"mean": 3.2, "error": 0.4},
            "replaced_tuned_rank": {"mean": 2.2, "error": None},
        },
        "replaces": {"token": 99, "text": " The", "times": times},
    }


def _view(name: str) -> dict:
    first, *others = TEXT.split(" ")
    texts = [first, *(f" {text}" for text in others)]
    mark = {"base": {"text": " Therefore", "probabilities": [0.41, 0.08]}, "ranks": [4, 1]}
    mark |= {"tuned": {"text": " Wait", "probabilities": [0.06, 0.8]}}
    marks = [
        {"at": at, "shifted": js >= THRESHOLD} | mark
        for at, js in ((9, 0.55), (11, 0.02), (13, 0.2), (21, 0.35))
    ]
    divergences = {9: 0.55, 11: 0.02, 13: 0.2, 21: 0.35}
    return {
        "id": name,
        "num_tokens": 812,
        "num_shifted": 3,
        "texts": texts,
        "js": [divergences.get(at, 0.001) for at in range(len(texts))],
        "marks": marks,
    }
