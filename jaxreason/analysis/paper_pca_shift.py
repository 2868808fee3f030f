"""Latent PCA shift just as the study's script computes it (Huan et al. 2025, section 3), beside `pca_shift`.

The states are those of `questions`; the arithmetic is that of `pca_shift.shifts`: axes of the base's features,
projections that are not centred, and the distance of the centres, which are means over layers.
"""

from jaxreason.analysis.measured import Prepared
from jaxreason.analysis.pca_shift import FEWEST_TEXTS, project, shifts
from jaxreason.analysis.questions import QuestionStates


def paper_pca_shift(states: QuestionStates) -> Prepared:
    """`shift`, the script's d. Details are its records: both models' coordinates at every layer.

    Nothing where there are fewer texts than span a plane.
    """
    num_texts = len(states.base)
    if num_texts < FEWEST_TEXTS:
        reason = f"{num_texts} questions span no plane; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    projected = project(states.base, states.tuned)
    base, tuned = projected.base.mean(0), projected.tuned.mean(0)
    details = {
        "base": [[0.0, second] for second in base[:, 1].tolist()],
        "tuned": [list(pair) for pair in zip((tuned - base)[:, 0].tolist(), tuned[:, 1].tolist())],
        "explained_variance": projected.explained.tolist(),
    }
    return Prepared(lambda texts: {"shift": shifts(projected, texts)["shift"]}, details)
