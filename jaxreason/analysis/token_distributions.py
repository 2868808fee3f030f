"""How the next-token distributions of two models differ on the same replies, token by token.

Divergences sum over the full vocabulary, in nats, at every reply token, the first and the end token
included. The study's own numbers stand beside them, as its scripts make them (`paper_tokens`).
"""

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.measured import Measured, Prepared
from jaxreason.analysis.paper_tokens import means, per_reply

POSITION_EDGES = tuple(2**power for power in range(20))  # reply positions 1, 2, 3-4, 5-8, ...


def derive(tokens: dict[str, Float[np.ndarray, "N R"]]) -> dict[str, Float[np.ndarray, "N R"]]:
    """Per-token differences, each 0 where the models agree, from what both models say about a
    token.
    """
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


def token_kl(measured: Measured) -> Prepared:
    """Differences of the token distributions.

    Plain names are means over all tokens; `<name>.per_reply` is the mean over replies of a reply's
    mean; `paper_kl` and `paper_rank_shift` are the study's. Details give the means by position in the
    reply, and both entropies.
    """
    counts = measured.mask.sum(1)
    values = {
        name: np.where(measured.mask, part, 0.0) for name, part in derive(measured.tokens).items()
    }
    sums = {name: part.sum(1) for name, part in values.items()}
    paper = per_reply(measured.tokens)

    def statistic(texts):
        total = counts[texts].sum()
        found = {name: float(part[texts].sum() / total) for name, part in sums.items()}
        found |= {
            f"{name}.per_reply": float((part / counts)[texts].mean()) for name, part in sums.items()
        }
        return found | means(paper, texts)

    return Prepared(statistic, _details(measured, values))


def _details(measured: Measured, values: dict[str, np.ndarray]) -> dict:
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
    """Means over the tokens at reply positions in (previous edge, edge], counted from 1."""
    rows, start = [], 0
    for edge in POSITION_EDGES:
        number = int(mask[:, start:edge].sum())
        if number:
            means = {
                name: float(part[:, start:edge].sum() / number) for name, part in values.items()
            }
            rows.append({"first": start + 1, "last": edge, "num_tokens": number, **means})
        start = edge
    return rows
