"""A tiny model on the development questions, on which the tiny study's recipe was chosen.

    jaxreason eval --config configs/eval_tiny.py --config.model.path=runs/base_tiny/model --workdir runs/base_tiny

Hardware: 2 CPU cores, half a minute.
"""

from ml_collections import ConfigDict

from configs import sections, tiny


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions()
    config.model = sections.tiny_model(sections.HERE / "tiny_base")
    config.eval = tiny.evaluation("development")
    return config
