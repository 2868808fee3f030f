"""Writes docs/fields.md: every field of every section of a recipe, from the declarations in the dataclasses."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jaxreason.recipe_fields import describe_fields  # noqa: E402
from jaxreason.studies.recipe_sections import SECTIONS  # noqa: E402

PAGE = ROOT / "docs/fields.md"
HEAD = """# Fields of a recipe

`jaxreason help SECTION` prints the same. `python scripts/draw_fields.py` writes this page from the dataclasses in which
the fields are declared. A field without a default has to be given. `NAME` stands for a name of your own: of a dataset,
an arm, a decoding. Any field can be set on the command line: `--config.sft.optimizer.learning_rate=1e-5`.
"""


def main() -> None:
    PAGE.write_text(fields_page())


def fields_page() -> str:
    """Returns the page, with a table for each section."""
    return "\n".join([HEAD, *(_table(name, cls) for name, cls in SECTIONS.items())])


def _table(name: str, cls: type) -> str:
    rows = [
        f"## {name}",
        "",
        "| field | type | default | range | meaning |",
        "|---|---|---|---|---|",
    ]
    for field in describe_fields(cls):
        cells = (
            f"`{field.path}`",
            field.type,
            f"`{field.default}`" if field.default else "",
            field.range,
            field.doc,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    main()
