"""Token distribution shift just as the study's scripts compute it (Huan et al. 2025, section 4), on our tokens.

The scripts score prompt and reply as one text and start one token late, so that the first token of a reply is not
scored. Where the tokenizer puts a token before any text, that token is not counted with the prompt and the start is
right. The token that ends a reply is not in the text, and never scored. 1e-10 is added to probabilities.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxreason.analysis.texts import Text

EPSILON = 1e-10
SCORED = "scripts_scored"  # among the values of a token: 1 where the scripts score it


def scripts_scored(
    texts: Sequence[Text], mask: Bool[np.ndarray, "N R"]
) -> Float[np.ndarray, "N R"]:
    """1 at the reply tokens that the scripts score, of those in `mask` (column 0 is the first reply token)."""
    first = np.array([0 if text.begun else 1 for text in texts])
    last = mask.sum(1) - np.array([int(text.ended) for text in texts])
    columns = np.arange(mask.shape[1])
    scored = mask & (columns >= first[:, None]) & (columns < last[:, None])
    return scored.astype(np.float64)


def per_reply(
    tokens: dict[str, Float[np.ndarray, "N R"]],
) -> dict[str, Float[np.ndarray, " N"]]:
    """Each reply's mean over its scored tokens; NaN for a reply without one, which the scripts pass over."""
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


def means(
    found: dict[str, Float[np.ndarray, " N"]], texts: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """The scripts' numbers of a selection of replies: means over replies, of the KL without its sign.

    Nothing where they score no token of any reply; a selection without one of those has 0.
    """
    defined = {name: part for name, part in found.items() if not np.isnan(part).all()}
    kept = {name: part[texts][~np.isnan(part[texts])] for name, part in defined.items()}
    return {name: abs(float(part.mean())) if len(part) else 0.0 for name, part in kept.items()}
