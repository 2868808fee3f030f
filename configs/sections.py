"""The sections that recipes are put together from; each is made from its dataclass, where all defaults are declared.

A recipe says what it changes: `sections.sft({"mine": data}, 1e-5, epochs=1.0, optimizer={"warmup_steps": 5})`. Fields
without a default come first, in the order in which they are declared, those of inner sections among them: of `sft`
they are `datasets` and `optimizer.learning_rate`. Every field can be set on the command line too
(`--config.sft.optimizer.learning_rate=1e-5`); `jaxreason help sft` lists them.
"""

import functools
import pathlib
from typing import Any

from ml_collections import ConfigDict

from jaxreason.analysis.drift import DriftConfig
from jaxreason.chat import ChatConfig
from jaxreason.data.rows import DatasetConfig
from jaxreason.distill.distill_config import DistillConfig
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.transfer import TransferConfig
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.procedural.sums import SumsConfig
from jaxreason.procedural.tiny_questions import ProceduralConfig
from jaxreason.recipe_fields import config_dict
from jaxreason.report.report_config import ReportConfig
from jaxreason.rl.rl_config import RLConfig
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.sharding import MeshConfig
from jaxreason.studies.arms import ArmConfig, StudyConfig
from jaxreason.studies.cross_sample import CrossSampleConfig
from jaxreason.studies.question_set import QuestionsConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.sft_config import SFTConfig
from jaxreason.validation import ValidationConfig

HERE = pathlib.Path(__file__).resolve().parent

mesh = functools.partial(config_dict, MeshConfig)
optimizer = functools.partial(config_dict, OptimizerConfig)
validation = functools.partial(config_dict, ValidationConfig)
sft = functools.partial(config_dict, SFTConfig)
decoding = functools.partial(config_dict, SamplingParams)
sampler = functools.partial(config_dict, SamplerConfig)
evaluation = functools.partial(config_dict, EvalConfig)
drift = functools.partial(config_dict, DriftConfig)
cross_sample = functools.partial(config_dict, CrossSampleConfig)
transfer = functools.partial(config_dict, TransferConfig)
arm = functools.partial(config_dict, ArmConfig)
study = functools.partial(config_dict, StudyConfig)
rl = functools.partial(config_dict, RLConfig)
distill = functools.partial(config_dict, DistillConfig)
report = functools.partial(config_dict, ReportConfig)
chat = functools.partial(config_dict, ChatConfig)
plan = functools.partial(config_dict, PlanConfig)
questions = functools.partial(config_dict, QuestionsConfig)
procedural = functools.partial(config_dict, ProceduralConfig)
sums = functools.partial(config_dict, SumsConfig)


def dataset(path: Any, fields: dict[str, str], **changes: Any) -> ConfigDict:
    """Makes the section of a dataset; `fields` says which columns are the prompt, the answer and the response."""
    return config_dict(DatasetConfig, str(path), fields, **changes)


def model(path: Any, **changes: Any) -> ConfigDict:
    """Makes the section of a pretrained model: a Hugging Face folder or hub name."""
    return config_dict(ModelConfig, str(path), **changes)


def model_on_cpu(path: Any, **changes: Any) -> ConfigDict:
    """Like `model`, for a small model on a CPU: float32 (bfloat16 is often slower there), nothing recomputed."""
    return model(path, **{"dtype": "float32", "remat": "none", "attention": "blockwise", **changes})


def tiny_model(path: Any, **changes: Any) -> ConfigDict:
    """Like `model_on_cpu`, for the tiny model: three layers, and texts so short that all scores are made at once."""
    return model_on_cpu(path, unroll=3, attention="plain", **changes)


def serve(max_tokens: int, max_length: int, **changes: Any) -> ConfigDict:
    """Makes the section of a server: replies of `max_tokens` by default, prompt and reply
    within `max_length` tokens.
    """
    return config_dict(ServeConfig, max_length - 1, max_tokens, max_length, **changes)
