"""The study in ten minutes: a base of 0.45M parameters, an RL twin and SFT twins at three rates, two seeds.

    bash scripts/quickstart.sh
    jaxreason study --config configs/study_tiny.py --workdir runs/study_tiny

Hardware: 2 CPU cores, under ten minutes. All twins start from configs/tiny_base and learn from the same 2,048
math questions: RL from its own graded replies, SFT from a teacher's worked ones. The recipe was chosen on development
questions; what it reports are test questions, which no stage has seen.
"""

from ml_collections import ConfigDict

from configs import sections, tiny

SFT_RATES = {"sft_low": 2e-4, "sft_mid": 5e-4, "sft_top": 1e-3}


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions(seed=7)
    config.model = sections.tiny_model(sections.HERE / "tiny_base")
    config.sft = sections.sft(
        {"teacher": tiny.replies("sft.jsonl")},
        5e-4,
        length=tiny.LENGTH,
        batch_size=16,
        epochs=3.0,
        optimizer={"warmup_steps": 38, "b2": 0.98},
        logprob_chunk=tiny.LENGTH,
    )
    config.rl = sections.rl(
        {"math": tiny.bare("rl.jsonl")},
        3e-4,
        num_steps=60,
        decoding=sections.decoding(1.0, 64),
        sampler=sections.sampler(256, 96, prefill_tokens=512, page_size=32),
        micro_batch_rows=64,
        row_length=tiny.LENGTH,
        logprob_chunk=tiny.LENGTH,
    )
    config.eval = tiny.evaluation("test")
    config.drift = sections.drift(
        "t1", texts_per_benchmark=40, batch_size=40, training_prompts=40, training_tokens=64
    )
    config.cross_sample = sections.cross_sample("add", questions=40, batch_size=40)
    config.transfer = sections.transfer()
    config.report = sections.report(
        "When a tiny model gets better at math, what happens to everything else?",
        "Does learning arithmetic by RL or by SFT, from the same questions, help or harm the rest?",
        ("One base model of 0.45M parameters: what holds here need not hold for large models.",),
    )
    arms = {
        name: sections.arm(
            "sft",
            f"SFT, rate {rate:.0e}".replace("e-0", "e-"),
            "sft",
            {"optimizer": {"learning_rate": rate}},
        )
        for name, rate in SFT_RATES.items()
    }
    arms = {"rl": sections.arm("rl", "RL", "rl"), **arms}
    config.study = sections.study("tiny", (20, 21), arms)
    config.chat = sections.chat(80, 160)
    config.serve = sections.serve(80, 160)
    return config
