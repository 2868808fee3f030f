"""RL on real weights: SmolLM2-135M-Instruct learns sums of two one-digit numbers; every fifth step asks held-out ones.

    python scripts/import_smollm2.py smollm2
    jaxreason rl   --config configs/rl_smollm2.py --workdir runs/rl_smollm2
    jaxreason eval --config configs/rl_smollm2.py --follow runs/rl_smollm2 --workdir runs/rl_smollm2_steps

Hardware: 2 CPU cores and 8 GB of memory, about three quarters of an hour. The sums and the RL section are those of
configs/study_smollm2.py; a third of the sums is held out, and asked greedily and 16 times at temperature 1.
"""

from ml_collections import ConfigDict

from configs import sections, study_smollm2


def get_config():
    config = study_smollm2.get_config()
    config = ConfigDict(
        {
            name: config[name]
            for name in ("seed", "mesh", "sums", "model", "rl", "drift", "transfer")
        }
    )
    config.rl.update(checkpoint_every=5, keep=0)
    own = {"sums": {"label": "Sums", "group": "math", "data": study_smollm2.held_out_sums()}}
    config.eval = sections.evaluation(
        {"sums": {"limit": 0, "samples": {"greedy": 1, "t1": 16}}},
        {"greedy": sections.decoding(0.0, 64), "t1": sections.decoding(1.0, 64)},
        own=own,
        sampler=sections.sampler(64, 128, prefill_tokens=512),
    )
    return config
