"""What the report shows, in its order: sections of figures, tables and views, by their names in FIGURES and so on."""

from typing import Literal, NamedTuple


class Item(NamedTuple):
    """The figure, the tables or the view of a name."""

    kind: Literal["figure", "tables", "view"]
    name: str


class Section(NamedTuple):
    """A heading with what stands under it; it is left out where nothing of it is there."""

    title: str
    items: tuple[Item, ...]


def _figure(name: str) -> Item:
    return Item("figure", name)


def _tables(name: str) -> Item:
    return Item("tables", name)


def _view(name: str) -> Item:
    return Item("view", name)


SECTIONS = (
    Section(
        "What was gained, and what it cost",
        (_figure("frontier"), _figure("kl_frontier")),
    ),
    Section("Scores", (_figure("scores"), _tables("groups"))),
    Section("Task by task", (_figure("benchmarks"), _tables("benchmarks"), _tables("variants"))),
    Section("Samples", (_view("samples"),)),
    Section(
        "Transferability index",
        (_figure("transfer"), _figure("transfer_map"), _tables("traits"), _tables("transfer")),
    ),
    Section(
        "Drift from the base",
        (_figure("kl"), _figure("kl_positions"), _figure("pca_shift"), _tables("drift")),
    ),
    Section(
        "Hidden states",
        (_figure("state_layers"), _figure("cka_maps"), _figure("pca_maps")),
    ),
    Section(
        "Weights",
        (
            _figure("weight_layers"),
            _figure("weight_directions"),
            _figure("weight_overlap"),
            _tables("weights"),
        ),
    ),
    Section(
        "Which tokens changed",
        (
            *(_figure("promoted"), _tables("shifted"), _view("shifted_view")),
            *(_tables("shifted_examples"), _figure("shift_places"), _figure("rank_shift")),
        ),
    ),
    Section("What single choices carry", (_figure("cross_sampling"), _tables("cross_sampling"))),
    Section("Over training", (_figure("trajectories"), _figure("matched"), _tables("matched"))),
    Section("Forgetting against drift", (_figure("forgetting"), _tables("forgetting"))),
    Section("Beside the paper's numbers", (_figure("fidelity"), _tables("fidelity"))),
    Section("Findings in full", (_view("findings"),)),
    Section("Training", (_tables("arms"), _figure("training"))),
)


def there(content: dict) -> list[Section]:
    """The sections with the items that `content` (figures, tables, views) holds."""
    holds = {
        "figure": content["figures"],
        "tables": content["tables"],
        "view": content["views"],
    }
    kept = (
        s._replace(items=tuple(i for i in s.items if holds[i.kind].get(i.name))) for s in SECTIONS
    )
    return [section for section in kept if section.items]
