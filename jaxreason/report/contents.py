"""The contents of the report: every figure with its caption, every table, and the sections that contain them.

A new figure is a function, an entry in FIGURES and CAPTIONS, and a place in SECTIONS; a new table is a function, an
entry in TABLES, and a place in SECTIONS or in DETAILS (tables that are folded away).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from jaxreason.report.cross_sampling import cross_sampling_figure, cross_tables
from jaxreason.report.fidelity import fidelity_detail_tables, fidelity_figure, fidelity_tables
from jaxreason.report.forgetting import forgetting_figure, forgetting_tables
from jaxreason.report.group_drift import (
    drift_tables,
    kl_figure,
    other_drift_tables,
    pca_shift_figure,
)
from jaxreason.report.hidden_state_drift import (
    cka_maps_figure,
    pca_maps_figure,
    state_layers_figure,
    state_tables,
)
from jaxreason.report.matched_math import matched_figure, matched_tables
from jaxreason.report.paper_drift import paper_drift_tables
from jaxreason.report.reply_positions import kl_positions_figure
from jaxreason.report.reply_tables import asked_tables, other_score_tables, reply_tables
from jaxreason.report.score_figures import (
    benchmark_figure,
    frontier_figure,
    kl_frontier_figure,
    score_figure,
)
from jaxreason.report.score_tables import (
    benchmark_tables,
    group_tables,
    pair_tables,
    seed_tables,
    significance_tables,
)
from jaxreason.report.scoring_variants import variant_tables
from jaxreason.report.token_shift_figures import (
    promoted_figure,
    rank_shift_figure,
    shift_places_figure,
    shifted_view,
)
from jaxreason.report.token_shifts import example_tables, shifted_tables, token_tables
from jaxreason.report.training_runs import arm_tables, training_figure
from jaxreason.report.trait_tables import trait_tables
from jaxreason.report.trajectories import trajectories_figure
from jaxreason.report.transfer_figures import transfer_figure, transfer_map_figure
from jaxreason.report.transfer_tables import (
    degree_tables,
    gain_tables,
    sensitivity_tables,
    transfer_seed_tables,
    transfer_tables,
)
from jaxreason.report.weight_drift import (
    overlap_tables,
    weight_directions_figure,
    weight_kind_tables,
    weight_layers_figure,
    weight_overlap_figure,
    weight_tables,
)
from jaxreason.report.wording import PAPER, WAYS

TABLES = {
    "groups": group_tables,
    "pairs": pair_tables,
    "benchmarks": benchmark_tables,
    "significance": significance_tables,
    "seeds": seed_tables,
    "transfer": transfer_tables,
    "transfer_seeds": transfer_seed_tables,
    "degrees": degree_tables,
    "gains": gain_tables,
    "sensitivity": sensitivity_tables,
    "drift": drift_tables,
    "other_drift": other_drift_tables,
    "states": state_tables,
    "weights": weight_tables,
    "weight_kinds": weight_kind_tables,
    "weight_overlap": overlap_tables,
    "shifted": shifted_tables,
    "shifted_examples": example_tables,
    "shifted_words": token_tables,
    "paper_drift": paper_drift_tables,
    "cross_sampling": cross_tables,
    "matched": matched_tables,
    "forgetting": forgetting_tables,
    "replies": reply_tables,
    "other_scores": other_score_tables,
    "variants": variant_tables,
    "asked": asked_tables,
    "arms": arm_tables,
    "traits": trait_tables,
    "fidelity": fidelity_tables,
    "fidelity_all": fidelity_detail_tables,
}
DETAILS = {
    "pairs": "Arms against each other",
    "significance": "How certain each difference is, and the smallest detectable one",
    "seeds": "Seed by seed",
    "transfer_seeds": "Transferability index, seed by seed",
    "degrees": "Degrees of improvement, whose ratio is the index",
    "gains": "Gain and drop: points won and lost, separately",
    "sensitivity": "Transferability index without each task",
    "other_drift": "Other measures of drift",
    "states": "Hidden states: shape, main axes and sink tokens",
    "weight_kinds": "Weights by kind of parameter",
    "weight_overlap": "Weights that runs changed alike, pair by pair",
    "shifted_words": "Shifted tokens, arm by arm",
    "paper_drift": "Drift as the study's scripts compute it, and corrected",
    "replies": "Replies: length, cut, without an answer, failed",
    "other_scores": "Other scorings",
    "asked": "How each model and task was asked",
    "fidelity_all": "Every published number beside ours",
}
# Functions of the summary that return the `data` of the partial templates `templates/NAME.html.jinja` (and, if it
# exists, NAME.md.jinja). Empty data is not shown.
VIEWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "findings": lambda summary: summary["found"],
    "shifted_view": shifted_view,
}
OF_INDEX = ("transfer", "transfer_map")  # Figures.
OF_DRIFT = (
    *("kl_frontier", "kl", "kl_positions", "pca_shift"),
    *("state_layers", "cka_maps", "pca_maps"),
    *("promoted", "shift_places", "rank_shift"),
)
FIGURES: dict[str, Callable[[dict, bool], Figure | None]] = {
    "scores": score_figure,
    "frontier": frontier_figure,
    "kl_frontier": kl_frontier_figure,
    "benchmarks": benchmark_figure,
    "transfer": transfer_figure,
    "kl": kl_figure,
    "kl_positions": kl_positions_figure,
    "pca_shift": pca_shift_figure,
    "state_layers": state_layers_figure,
    "cka_maps": cka_maps_figure,
    "pca_maps": pca_maps_figure,
    "weight_layers": weight_layers_figure,
    "weight_directions": weight_directions_figure,
    "weight_overlap": weight_overlap_figure,
    "promoted": promoted_figure,
    "shift_places": shift_places_figure,
    "rank_shift": rank_shift_figure,
    "cross_sampling": cross_sampling_figure,
    "trajectories": trajectories_figure,
    "matched": matched_figure,
    "forgetting": forgetting_figure,
    "training": training_figure,
    "transfer_map": transfer_map_figure,
    "fidelity": fidelity_figure,
}


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
        "Means over the tokens at each place of a reply, in ranges of doubling length, of all seeds and tasks of a "
        "group; ranges with fewer than 20 tokens are left out.",
    ),
    "pca_shift": Caption(
        "Shift of hidden states by group",
        "Along the base's first two principal axes, on the base's own replies, states averaged "
        "over reply tokens.",
    ),
    "state_layers": Caption(
        "What changed in which layer",
        "Mean states of the base's replies, means over tasks and seeds. The shift of the mean, rotation, and the "
        "part that neither rotation nor scaling explains are parts of the mean squared distance; scaling is in a "
        "table below.",
    ),
    "cka_maps": Caption(
        "Layers against layers",
        "Debiased CKA of the base's layers with the tuned model's, minus that with the base's own: red where a tuned "
        "layer is less similar to the base's.",
    ),
    "pca_maps": Caption(
        "Maps of the layers",
        "Mean states on the base's first two axes in each layer, as the paper draws them: circles are the base, at 0 "
        "on the horizontal axis; triangles are the tuned model, first seed; a segment joins a layer's two states, "
        "and later layers are darker. The sign of an axis is arbitrary. Tasks alternate between the groups.",
    ),
    "weight_layers": Caption(
        "Which layers changed",
        "Means over seeds: the share of a layer's weights that differ once both are rounded to "
        "bfloat16, and the norm of its update over that of the base's weights.",
    ),
    "weight_directions": Caption(
        "Directions of the update",
        "How much of the update's leading directions lies in the base's leading ones: 1 (dashed) is a random update, "
        "above 1 the update follows the base's principal directions, below 1 it avoids them. Right: singular values "
        "of the update relative to the first, mean of all matrices.",
    ),
    "weight_overlap": Caption(
        "Weights that two runs changed alike",
        "Below the diagonal: of the weights that either run changed, the share that both changed (Jaccard index J), "
        "beyond chance: (J − J_c) / (1 − J_c), where J_c is J if each had changed as many weights of each tensor at "
        "random. Above: the cosine of the two updates. One row per run; the seeds of an arm are side by side.",
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
        "|Rank under base − rank under tuned| of written tokens whose two ranks differ, a regular sample of them, in "
        "the tuned models' replies. Triangles are beyond the axis.",
    ),
    "cross_sampling": Caption(
        "Few choices carry the difference",
        "Greedy replies of one model in which at most this many of its choices are replaced by the other's; it "
        "continues from each of them by itself. At 0 each model writes its own reply, at “all” it writes the other's.",
    ),
    "trajectories": Caption(
        "Scores and distance from the base over training",
        "At every evaluated checkpoint; step 0 is the base (dashed, where it has a score). Lines: means over seeds; "
        "bands: their intervals. With several seeds, the index has no band.",
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
        "A point is a published number of a model that this study measured (grey: a base). On the line both are "
        "equal; bars are our intervals.",
    ),
    "training": Caption(
        "Training",
        "One line per seed; bold: running mean. Losses of different methods are not comparable.",
    ),
}


def captions(summary: dict[str, Any]) -> dict[str, Caption]:
    """Returns CAPTIONS. If a part of the report is measured in the paper's way, they say how index and drift are."""
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
    """Returns the caption of a map, which explains colours and sizes of points if the arms have such traits."""
    about = CAPTIONS["transfer_map"]
    meant = {"method": "Colour: method.", "size": "Size: parameters."}
    traits = {name for arm in summary["arms"] for name in arm.get("traits", {})}
    return about._replace(text=" ".join([about.text, *(meant[n] for n in meant if n in traits)]))


class PageItem(NamedTuple):
    """The figure, the tables or the view with this name."""

    kind: Literal["figure", "tables", "view"]
    name: str


class PageSection(NamedTuple):
    """A heading and the items below it; it is left out if none of them exists."""

    title: str
    items: tuple[PageItem, ...]


_figure, _tables, _view = (
    functools.partial(PageItem, kind) for kind in ("figure", "tables", "view")
)
SECTIONS = (
    PageSection(
        "What was gained, and what it cost",
        (_figure("frontier"), _figure("kl_frontier")),
    ),
    PageSection("Scores", (_figure("scores"), _tables("groups"))),
    PageSection(
        "Task by task", (_figure("benchmarks"), _tables("benchmarks"), _tables("variants"))
    ),
    PageSection("Samples", (_view("samples"),)),
    PageSection(
        "Transferability index",
        (_figure("transfer"), _figure("transfer_map"), _tables("traits"), _tables("transfer")),
    ),
    PageSection(
        "Drift from the base",
        (_figure("kl"), _figure("kl_positions"), _figure("pca_shift"), _tables("drift")),
    ),
    PageSection(
        "Hidden states",
        (_figure("state_layers"), _figure("cka_maps"), _figure("pca_maps")),
    ),
    PageSection(
        "Weights",
        (
            _figure("weight_layers"),
            _figure("weight_directions"),
            _figure("weight_overlap"),
            _tables("weights"),
        ),
    ),
    PageSection(
        "Which tokens changed",
        (
            *(_figure("promoted"), _tables("shifted"), _view("shifted_view")),
            *(_tables("shifted_examples"), _figure("shift_places"), _figure("rank_shift")),
        ),
    ),
    PageSection(
        "What single choices carry", (_figure("cross_sampling"), _tables("cross_sampling"))
    ),
    PageSection("Over training", (_figure("trajectories"), _figure("matched"), _tables("matched"))),
    PageSection("Forgetting against drift", (_figure("forgetting"), _tables("forgetting"))),
    PageSection("Beside the paper's numbers", (_figure("fidelity"), _tables("fidelity"))),
    PageSection("Findings in full", (_view("findings"),)),
    PageSection("Training", (_tables("arms"), _figure("training"))),
)


def sections_shown(content: dict) -> list[PageSection]:
    """Returns the sections with the items that `content` (figures, tables, views) holds."""
    holds = {
        "figure": content["figures"],
        "tables": content["tables"],
        "view": content["views"],
    }
    kept = (
        s._replace(items=tuple(i for i in s.items if holds[i.kind].get(i.name))) for s in SECTIONS
    )
    return [section for section in kept if section.items]
