"""Shows where in a model the effect of SFT is: models made of a base and its SFT twin, evaluated as `given` arms.

    jaxreason study --config configs/study_tiny.py --workdir runs/study_tiny    # the twin, if it is not there
    jaxreason surgery --base configs/tiny_base --tuned runs/study_tiny/sft_top/seed_20/model \\
        --change interpolate --amount 0.5 --target runs/surgery/half            # a call for every one of MADE
    jaxreason study --config configs/study_surgery.py --workdir runs/study_surgery

Hardware: 2 CPU cores, a few minutes once the twin exists. The argument after a colon is the folder of the models made;
without one it is runs/surgery. MADE lists the flags with which each is made; docs/weights.md says what each is for.
"""

from ml_collections import ConfigDict

from configs import sections, tiny

TUNED = "runs/study_tiny/sft_top/seed_20/model"
# Name -> label, and the flags of `jaxreason surgery`.
MADE = {
    "half": ("Half of the update", "--change interpolate --amount 0.5"),
    "values": ("SFT, the base's singular values", "--change singular_values"),
    "vectors": ("SFT, the base's singular vectors", "--change singular_vectors"),
    "first_layer": ("SFT in layer 0 alone", "--change interpolate --layers 0"),
    "last_layers": ("SFT in layers 1 and 2 alone", "--change interpolate --layers 1-2"),
    "mlp": ("SFT in the MLP alone", "--change interpolate --kinds gate_proj,up_proj,down_proj"),
}


def get_config(folder: str = "runs/surgery"):
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions(seed=7)
    config.model = sections.tiny_model(sections.HERE / "tiny_base")
    config.eval = tiny.evaluation("test")
    config.drift = sections.drift("t1", texts_per_benchmark=40, max_length=160, batch_size=40)
    config.transfer = sections.transfer()
    config.report = sections.report(
        "Where does what SFT learned sit?",
        "How much of an SFT twin's gain and loss is left with half of its update, the base's singular values or "
        "vectors, or some of its layers?",
        (
            "One twin of one base of 0.45M parameters: what holds here need not hold for large models.",
        ),
    )
    arms = {"tuned": sections.arm("given", "SFT", "", path=TUNED)}
    for name, (label, _) in MADE.items():
        arms[name] = sections.arm("given", label, "", path=f"{folder or 'runs/surgery'}/{name}")
    config.study = sections.study("surgery", (20,), arms)
    return config
