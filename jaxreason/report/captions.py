"""The title of every figure, and what it shows."""

from typing import Any, NamedTuple

from jaxreason.report.wording import PAPER, WAYS


class Caption(NamedTuple):
    """The title of a figure, and what it shows."""

    title: str
    text: str


CAPTIONS = {
    "scores": Caption(
        "Scores by group",
        "Filled: mean over seeds, with its interval. Open: each seed. Dashed: the base.",
    ),
    "frontier": Caption(
        "Math gained against the other groups",
        "Up and to the right is better. Filled: mean over seeds with intervals both ways; open: "
        "each seed. The lines mark no change from the base.",
    ),
    "kl_frontier": Caption(
        "Gain and loss against distance from the base",
        "Change of math (left) and of the rest, the mean of all other groups (right), against "
        "KL(base ‖ tuned) on math.",
    ),
    "benchmarks": Caption(
        "Change from the base, task by task",
        "Paired over questions, mean over seeds, with intervals. Lines divide the groups.",
    ),
    "transfer": Caption(
        "Transferability index",
        "100 (dashed): the group moved as far as math gained; below 0: it lost. Logarithmic beyond "
        "±50. An arrow marks an interval that leaves the axis or has no end.",
    ),
    "kl": Caption(
        "KL divergence from the base by group",
        "Per token, over the full vocabulary. Filled: mean over seeds with its interval; open: "
        "seeds.",
    ),
    "kl_positions": Caption(
        "Drift along the reply",
        "Means over the tokens at that place of a reply, in stretches that double, of all seeds and tasks "
        "of a group; stretches with fewer than 20 tokens are left out.",
    ),
    "pca_shift": Caption(
        "Shift of hidden states by group",
        "Along the base's first two principal axes, on the base's own replies, states averaged "
        "over reply tokens.",
    ),
    "state_layers": Caption(
        "What changed in which layer",
        "Mean states of the base's replies, means over tasks and seeds. Rotation and what neither rotation nor scaling "
        "explains are parts of the mean squared distance, as the shift of the mean is; scaling is in a table below.",
    ),
    "cka_maps": Caption(
        "Layers against layers",
        "Debiased CKA of the base's layers with the tuned model's, less that with the base's own: red where the tuned "
        "layer no longer says what the base's did.",
    ),
    "pca_maps": Caption(
        "Maps of the layers",
        "Mean states on the base's first two axes in each layer, as the paper draws them: circles the base, at 0 "
        "across; triangles the tuned model, of the first seed; a segment joins a layer's two states, and later layers "
        "are darker. An axis' sign is arbitrary. Tasks of all groups in turn.",
    ),
    "weight_layers": Caption(
        "Which layers changed",
        "Means over seeds: the share of a layer's weights that differ once both are rounded to "
        "bfloat16, and the norm of its update over that of the base's weights.",
    ),
    "weight_directions": Caption(
        "Directions of the update",
        "How much of the update's leading directions lies in the base's leading ones: 1 (dashed) is a "
        "random update, beyond it the update follows the base's principal directions, below it avoids "
        "them. Right: singular values of the update over the first, mean of all matrices.",
    ),
    "weight_overlap": Caption(
        "Weights that two runs changed alike",
        "Below the diagonal: of the weights that either changed the share that both did (Jaccard "
        "index J), beyond chance: (J − J_c) / (1 − J_c), J_c if each had changed as many of each tensor "
        "anywhere in it. Above: the cosine of the two updates. A row a run; the seeds of an arm stand together.",
    ),
    "promoted": Caption(
        "Tokens that the tuned models promote",
        "The tuned model's first choice at shifted tokens, the most frequent ones in its own replies; axes differ. "
        "Above: the share of all tokens of all tasks. "
        "Colour and mark: words of logical structure, by a list, and content.",
    ),
    "shift_places": Caption(
        "Where in a reply tokens are shifted",
        "Share of shifted tokens in every tenth of the tuned models' replies, mean over tasks and seeds; bands: "
        "intervals.",
    ),
    "rank_shift": Caption(
        "Rank shift against position",
        "|Rank under base − rank under tuned| of written tokens whose two ranks differ, an even choice of them, in the "
        "tuned models' replies. Triangles lie beyond the axis.",
    ),
    "cross_sampling": Caption(
        "Few choices carry the difference",
        "Greedy replies of one model in which at most so many of its choices are replaced by the other's; it goes on "
        "from each by itself. At 0 both are their own, at “all” each is the other.",
    ),
    "trajectories": Caption(
        "Scores and distance from the base over training",
        "At every evaluated checkpoint; step 0 is the base (dashed, where it has a score). Lines: "
        "means over seeds; bands: their intervals. The index has no band where there are seeds.",
    ),
    "matched": Caption(
        "Arms at equal math",
        "Each arm where its math first reaches the same score, between its checkpoints. Filled: "
        "mean over seeds with its interval; open: seeds.",
    ),
    "forgetting": Caption(
        "Points lost outside math against drift",
        "Filled: final models; open: earlier checkpoints. Line: least squares, with its interval "
        "over runs. Below 0 the other groups gained.",
    ),
    "transfer_map": Caption(
        "What reached the other groups",
        "The index on non-reasoning against that on other reasoning, of arms that have both. 100: as far as math "
        "gained; below 0: lost. Linear within ±50, logarithmic beyond.",
    ),
    "fidelity": Caption(
        "The paper's numbers and ours",
        "A point is a published number of a model that this study measured (grey: a base). On the line both are the "
        "same; bars are our intervals.",
    ),
    "training": Caption(
        "Training",
        "A line a seed; bold: running mean. Losses of different methods are not comparable.",
    ),
}


OF_INDEX = ("transfer", "transfer_map")  # figures
OF_DRIFT = (
    *("kl_frontier", "kl", "kl_positions", "pca_shift"),
    *("state_layers", "cka_maps", "pca_maps"),
    *("promoted", "shift_places", "rank_shift"),
)


def captions(summary: dict[str, Any]) -> dict[str, Caption]:
    """CAPTIONS; where the paper's way has a part in the report, with the way that the index and the drift are of."""
    known = CAPTIONS | {"transfer_map": _map_caption(summary)}
    texts = summary["drift_texts"]
    of = dict.fromkeys(OF_INDEX, summary["transfer_variant"])
    of |= dict.fromkeys(OF_DRIFT, None if texts is None else texts["variant"])
    if PAPER not in (summary["variant"], *of.values()):
        return known
    said = {
        name: Caption(about.title, f"{about.text} Of tasks measured {WAYS[of[name]]}.")
        for name, about in known.items()
        if of.get(name) is not None
    }
    return known | said


def _map_caption(summary: dict) -> Caption:
    """With what colours and sizes of its points mean, where the arms have such traits."""
    about = CAPTIONS["transfer_map"]
    meant = {"method": "Colour: method.", "size": "Size: parameters."}
    traits = {name for arm in summary["arms"] for name in arm.get("traits", {})}
    return about._replace(text=" ".join([about.text, *(meant[n] for n in meant if n in traits)]))
