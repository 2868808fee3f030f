"""Draws who imports whom, from the source: `python scripts/draw_imports.py` writes docs/imports.md.

A box is a folder of the package, or one of the modules that join them. An arrow that follows from two others is left
out.
"""

import ast
import collections
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "jaxreason"
PAGE = ROOT / "docs" / "imports.md"
JOINS = ("cli",)  # Modules that are drawn beside the folders.
# Nearly all parts import these, so they are listed as words and not drawn as arrows.
EVERYWHERE = ("errors", "config", "results")
TEXT = """# How the parts use each other

Drawn from the source by `scripts/draw_imports.py`; a test keeps it so. An arrow goes from a part to what it imports. An
arrow that follows from two others is left out, and so are those to `errors`, `config` and `results`, which nearly every
part reads. The stages `training`, `evaluation`, `analysis` and `report` meet in files of the working directory: none of
them imports another.

```mermaid
flowchart TD
{arrows}
```
"""


def part_of(path: pathlib.Path) -> str:
    """Returns the folder of a module, or its own name at the top level."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports() -> dict[str, set[str]]:
    """Returns part -> parts that its files import."""
    found = collections.defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxreason"):
                modules = (
                    [node.module] if "." in node.module else [f".{a.name}" for a in node.names]
                )
                found[part_of(path)] |= {module.split(".")[1] for module in modules}
    return {part: uses - {part} for part, uses in found.items()}


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Returns every part that can be reached from `start`."""
    seen, todo = set(), list(graph.get(start, ()))
    while todo:
        part = todo.pop()
        if part not in seen:
            seen.add(part)
            todo += graph.get(part, ())
    return seen


def drawn(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Returns the arrows between folders and `JOINS`, without those that follow from others."""
    boxes = {part for part in graph if (PACKAGE / part).is_dir()} | set(JOINS)
    boxes |= {part for uses in graph.values() for part in uses if (PACKAGE / part).is_dir()}
    boxes -= {*EVERYWHERE, "__init__"}
    whole = {box: reached(graph, box) & boxes - {box} for box in boxes}
    return sorted(
        (box, other)
        for box, others in whole.items()
        for other in others
        if not any(other in whole[between] for between in others - {other})
    )


def page() -> str:
    """Returns the text of docs/imports.md."""
    arrows = "\n".join(f"  {box} --> {other}" for box, other in drawn(imports()))
    return TEXT.format(arrows=arrows)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
