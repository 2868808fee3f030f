"""Parts of summary.json that are made from a study's files alone, each by its key."""

from collections.abc import Callable
from typing import Any

from jaxreason.report.cross_rows import cross_rows
from jaxreason.report.curves import training_rows
from jaxreason.report.files import Reader, Study
from jaxreason.report.over_training import over_training
from jaxreason.report.paper_rows import paper_rows
from jaxreason.report.position_rows import position_rows
from jaxreason.report.scores import Resampling
from jaxreason.report.shifted_rows import shifted_rows
from jaxreason.report.state_rows import state_part
from jaxreason.report.training_questions import question_rows
from jaxreason.report.weight_rows import overlap_rows, weight_space_rows

PARTS: dict[str, Callable[[Reader, Study, Resampling], Any]] = {
    "over_training": over_training,
    "training": lambda reader, study, _: training_rows(reader, study),
    "states": state_part,
    "shifted": shifted_rows,
    "cross_sampling": lambda reader, study, _: cross_rows(reader, study),
    "paper_drift": lambda reader, study, _: paper_rows(reader, study),
    "positions": lambda reader, study, _: position_rows(reader, study),
    "training_questions": lambda reader, study, _: question_rows(reader, study),
    "weight_space": lambda reader, study, _: weight_space_rows(reader, study),
    "weight_overlap": lambda reader, study, _: overlap_rows(reader, study),
}
