"""The transferability index of the paper's own scores: 18 pairs of models, published value beside recomputed.

    jaxreason transfer --config configs/transfer_paper.py --workdir runs/paper

Hardware: any; seconds. Mode `paper_scales` has the ratios of deviations that reproduce 13 of the 18 published pairs
to 0.55 points (arXiv 2507.00432, tables 9-11 and 5), 12 of them to 0.15; the other rows come from other evaluation
states and are marked. Mode `v2_pooled` pools the deviations over these 18 pairs.
"""

from ml_collections import ConfigDict

from configs import sections
from jaxreason.results import published
from jaxreason.results.published import published_benchmarks


def get_config():
    known = published_benchmarks().values()
    groups = {
        group: tuple(one.name for one in known if one.group == group)
        for group in ("math", "other", "non_reasoning")
    }
    sizes = {one.name: one.questions for one in known}
    table = {
        "scores": str(published.FOLDER / "scores.csv"),
        "model_column": "model",
        "groups": groups,
        "sizes": sizes,
        "pairs": str(published.FOLDER / "transferability.csv"),
        "label_column": "model",
        "tuned_column": "scores_name",
        "base_column": "base",
        "published_columns": {"other": "published_other", "non_reasoning": "published_non"},
        "published_mode": "paper_scales",
    }
    config = ConfigDict()
    config.seed = 0
    config.transfer = sections.transfer(table=table)
    return config
