"""Figures as a part of the page: SVG whose colours are the page's, so that they follow light and dark."""

import re

from matplotlib.markers import MarkerStyle

from jaxreason.report.style import DARK

_FIXED_IN_TEXT = ("#000000", "#ffffff")  # a text of these stands on a colour of its own


def inline_svg(svg: str, name: str, label: str) -> str:
    """An SVG element for the page.

    Args:
      svg: of matplotlib.
      name: put before its ids, which are the page's too.
      label: what a screen reader says in its place; escaped already.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = _short_numbers(re.sub(r"<(\w+)[^>]*>", _themed, svg))
    box = re.search(r'viewBox="([^"]*)"', svg).group(1)
    _, end = svg.split(">", 1)
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">{end.strip()}'


def _themed(tag: re.Match) -> str:
    fixed = _FIXED_IN_TEXT if tag[1] in ("text", "tspan") else ()
    return re.sub(
        r"(fill|stroke): (#[0-9a-fA-F]{6})",
        lambda found: (
            found[0] if found[2].lower() in fixed else f"{found[1]}: {variable(found[2])}"
        ),
        tag[0],
    )


def variable(colour: str) -> str:
    """A colour as the page's style names it; one that is alike in light and dark stays as it is."""
    name = colour.lower().lstrip("#")
    return f"var(--c-{name})" if name in _names() else colour


def colour_variables(dark: bool) -> str:
    """The page's colours of figures, as CSS declarations."""
    pairs = ((name, DARK[colour] if dark else colour) for name, colour in _names().items())
    return " ".join(f"--c-{name}: {colour};" for name, colour in pairs)


def _names() -> dict[str, str]:
    return {colour.lower().lstrip("#"): colour for colour in DARK}


def _short_numbers(svg: str) -> str:
    """Coordinates to a hundredth of a point; numbers below 1 may be scales, and stay."""
    return re.sub(r"(?<![\d.\w])(-?[1-9]\d*\.\d{2})\d+", r"\1", svg)


def marker_path(marker: str) -> str:
    """The outline of a marker in a box of -1 to 1, as the `d` of an SVG path."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    largest = abs(path.vertices).max()
    shapes = ([f"{x / largest:.2f} {-y / largest:.2f}" for x, y in s] for s in path.to_polygons())
    return " ".join(f"M{' L'.join(points)} Z" for points in shapes)
