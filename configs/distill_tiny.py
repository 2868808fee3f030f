"""The tiny study's questions answered by a model instead of a program: four replies to each of 2,048, right ones kept.

    jaxreason distill --config configs/distill_tiny.py --workdir runs/distill_tiny
    jaxreason distill --config configs/distill_tiny.py:runs/rl/model --workdir runs/distill_rl
    jaxreason sft --config configs/distill_tiny.py --workdir runs/distill_tiny

Hardware: 2 CPU cores, two minutes. The teacher is configs/tiny_base, or the folder after the colon (for example an RL
twin); `jaxreason sft` in the same directory then trains configs/tiny_base on the rows with a right reply.
"""

from ml_collections import ConfigDict

from configs import sections, tiny


def get_config(teacher: str = ""):
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions(seed=7)
    config.model = sections.tiny_model(sections.HERE / "tiny_base")
    config.distill = sections.distill(
        {"math": tiny.bare("rl.jsonl")},
        64,
        96,
        cutoff=tiny.LENGTH,
        sampler={"prefill_tokens": 512, "page_size": 32},
        teacher={"path": teacher},
    )
    config.sft = sections.sft(
        {"teacher": tiny.distilled("no_think_response")},
        5e-4,
        length=tiny.LENGTH,
        batch_size=8,
        epochs=1.0,
        logprob_chunk=tiny.LENGTH,
    )
    return config
