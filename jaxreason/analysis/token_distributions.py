"""How the next-token distributions of two models differ on the same replies, token by token.

Divergences sum over the full vocabulary, in nats, at every reply token, including the first one and the end token.

The study's own numbers are given too (Huan et al. 2025, section 4), computed as its scripts do it. The scripts score
prompt and reply as one text and start one token late, so the first token of a reply is not scored. If the tokenizer
puts a token before any text, that token is not counted with the prompt, and the start is right. The token that ends a
reply is not in their text and is never scored. They add 1e-10 to probabilities.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxreason.analysis.metric_types import Prepared, TextMeasurements
from jaxreason.analysis.texts import Text

POSITION_EDGES = tuple(2**power for power in range(20))  # Reply positions 1, 2, 3-4, 5-8, ...


def derive(tokens: dict[str, Float[np.ndarray, "N R"]]) -> dict[str, Float[np.ndarray, "N R"]]:
    """Returns differences per token, each 0 if the models agree, from both models' values for a token."""
    rank_change = tokens["base_rank"] - tokens["tuned_rank"]
    return {
        "kl_forward": tokens["kl_forward"],
        "kl_reverse": tokens["kl_reverse"],
        "js": tokens["js"],
        "entropy_change": tokens["tuned_entropy"] - tokens["base_entropy"],
        "log_ratio": tokens["tuned_logprob"] - tokens["base_logprob"],
        "rank_shift": np.abs(rank_change),
        "signed_rank_shift": rank_change,
        "shifted_share": 1 - tokens["same_top"],
    }


def token_kl(measured: TextMeasurements) -> Prepared:
    """Differences of the token distributions.

    Plain names are means over all tokens; `<name>.per_reply` is the mean over replies of a reply's mean; `paper_kl` and
    `paper_rank_shift` are the study's. Details have the means by position in the reply, and both entropies.
    """
    counts = measured.mask.sum(1)
    values = {
        name: np.where(measured.mask, part, 0.0) for name, part in derive(measured.tokens).items()
    }
    sums = {name: part.sum(1) for name, part in values.items()}
    paper = paper_values(measured.tokens)

    def statistic(texts):
        total = counts[texts].sum()
        found = {name: float(part[texts].sum() / total) for name, part in sums.items()}
        found |= {
            f"{name}.per_reply": float((part / counts)[texts].mean()) for name, part in sums.items()
        }
        return found | paper_means(paper, texts)

    return Prepared(statistic, _details(measured, values))


def _details(measured: TextMeasurements, values: dict[str, np.ndarray]) -> dict:
    levels = {
        name: measured.tokens[name][measured.mask].mean()
        for name in ("base_entropy", "tuned_entropy")
    }
    return {
        "num_tokens": int(measured.mask.sum()),
        **{name: float(level) for name, level in levels.items()},
        "by_position": _by_position(measured.mask, values),
    }


def _by_position(mask: np.ndarray, values: dict[str, np.ndarray]) -> list[dict]:
    """Returns means over the tokens at reply positions in (previous edge, edge], counted from 1."""
    rows, start = [], 0
    for edge in POSITION_EDGES:
        number = int(mask[:, start:edge].sum())
        if number:
            paper_means = {
                name: float(part[:, start:edge].sum() / number) for name, part in values.items()
            }
            rows.append({"first": start + 1, "last": edge, "num_tokens": number, **paper_means})
        start = edge
    return rows


EPSILON = 1e-10
SCORED = "scripts_scored"  # One of a token's values: 1 if the scripts score it.


def scripts_scored(
    texts: Sequence[Text], mask: Bool[np.ndarray, "N R"]
) -> Float[np.ndarray, "N R"]:
    """Returns 1 at the reply tokens in `mask` that the scripts score, else 0 (column 0 is the first reply token)."""
    first = np.array([0 if text.begun else 1 for text in texts])
    last = mask.sum(1) - np.array([int(text.ended) for text in texts])
    columns = np.arange(mask.shape[1])
    scored = mask & (columns >= first[:, None]) & (columns < last[:, None])
    return scored.astype(np.float64)


def paper_values(
    tokens: dict[str, Float[np.ndarray, "N R"]],
) -> dict[str, Float[np.ndarray, " N"]]:
    """Returns each reply's mean over its scored tokens; NaN for a reply without one, which the scripts skip."""
    base, tuned = (
        np.exp(tokens[f"{name}_logprob"].astype(np.float64)) for name in ("base", "tuned")
    )
    values = {
        "paper_kl": np.log(tuned + EPSILON) - np.log(base + EPSILON),
        "paper_rank_shift": np.abs(tokens["base_rank"] - tokens["tuned_rank"]),
    }
    scored = tokens[SCORED] > 0
    number = np.where(scored.any(1), scored.sum(1), np.nan)
    return {name: np.where(scored, part, 0.0).sum(1) / number for name, part in values.items()}


def paper_means(
    found: dict[str, Float[np.ndarray, " N"]], texts: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Returns the scripts' numbers for a selection of replies: means over replies, with the KL without its sign.

    Missing if they score no token of any reply, and NaN for a selection without a scored reply.
    """
    defined = {name: part for name, part in found.items() if not np.isnan(part).all()}
    kept = {name: part[texts][~np.isnan(part[texts])] for name, part in defined.items()}
    return {name: abs(float(part.mean())) if len(part) else math.nan for name, part in kept.items()}
