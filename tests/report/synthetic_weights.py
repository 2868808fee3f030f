"""Made-up weights of a study's runs, as the drift stage and `jaxreason weights` write them."""

import itertools

import numpy as np

from jaxreason.analysis.weight_overlap import Member, pair_rows
from jaxreason.analysis.weight_run import weight_details

KINDS = {"q_proj": "layers.self_attn.q_proj.kernel", "up_proj": "layers.mlp.up_proj.kernel"}
DEPTH = 4


def weights_file(size: float) -> dict:
    """Weights that moved `size` per cent of their norm, more in later layers, off the base's leading directions."""
    records = [_record("embed_tokens", "embed_tokens.embedding", None, size)]
    for (kind, path), layer in itertools.product(KINDS.items(), range(DEPTH)):
        records.append(_record(kind, path, layer, size * (1 + layer / DEPTH)))
    details = weight_details(records).details
    rows = [
        {"name": "relative_l2", "value": 0.05 * size},
        {"name": "changed_share", "value": 0.3 * size},
    ]
    about = {"metric": "weights", "tuned": "a twin"}
    return about | {"rows": rows, "groups": [], "details": details}


def _record(kind: str, path: str, layer: int | None, size: float) -> dict:
    sums = {"squared_change": (0.01 * size) ** 2 * 100, "squared_base": 100.0}
    counts = {"num_changed": int(200 * size), "num_weights": 1000}
    moved = {
        "exact": True,
        "side": 64,
        "count": 4,
        "values": [1.0, 0.5, 0.4, 0.3],
        "base_values": [8.0, 7.0, 6.0, 5.0],
        "tuned_values": [8.0, 7.0, 6.0, 5.0],
        "effective_rank": 32.0,
        "stable_rank": 4.0,
        "top_1": 0.2,
        "top_10": 0.6,
        "spectral_drift": 0.001,
        **{f"{name}_{side}": value for side in ("left", "right") for name, value in _NUMBERS},
    }
    where = {"path": path, "kind": kind, "layer": layer}
    return where | sums | counts | {"directions": None if layer is None else moved}


_NUMBERS = (("angle", 80.0), ("overlap", 0.02), ("energy", 0.03), ("chance", 0.04), ("rotation", 1.0))  # fmt: skip


def overlap_file(arms: dict, seeds: tuple[int, ...]) -> dict:
    """Every run changed a third of a tensor; seeds of an arm the same weights twice as often as by chance."""
    members = [Member(arm, seed, "") for arm in arms for seed in seeds]
    pairs = list(itertools.combinations(members, 2))
    alike = [2 if one.arm == other.arm else 1 for one, other in pairs]
    part = {
        "num_weights": 900,
        "changed": [300] * len(members),
        "squared": [1.0] * len(members),
        "shared": [100 * times for times in alike],
        "dot": [float(np.float32(0.4 * times)) for times in alike],
    }
    base = {"base": "synthetic/base", "members": [m._asdict() for m in members]}
    return {"made_with": {}, "bases": [base | {"pairs": pair_rows(members, [part]), "by_kind": {}}]}
