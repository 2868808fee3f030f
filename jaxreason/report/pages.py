"""report.html and report.md: the templates' values, figures as inline SVG, and the limit of the page's size."""

import base64
import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jinja2
from etils import epath
from markupsafe import Markup, escape
from matplotlib.markers import MarkerStyle
from PIL import Image

from jaxreason.report.answer import answer_tables
from jaxreason.report.contents import Caption, captions, sections_shown
from jaxreason.report.figure_files import Drawn
from jaxreason.report.methods import Formula, methods, reading
from jaxreason.report.report_tables import Table
from jaxreason.report.sample_browser import Archive, browser
from jaxreason.report.style import DARK, looks
from jaxreason.report.wording import WAYS, arm_labels, decoding_label, group_label

LARGEST = 5_000_000  # Bytes of report.html.
FIGURES_LARGEST = 2_600_000  # Bytes of its figures.
# Bytes of its samples, and of the page around figures and samples.
SAMPLES_LARGEST, SLACK = 1_200_000, 100_000
_PNG_WIDTH = 1100  # Pixels of a figure that is too large as SVG.
_FIXED_IN_TEXT = ("#000000", "#ffffff")  # Text in these colours is on a background of its own.


class PageFigure(NamedTuple):
    """A figure as a part of the page; without a narrow layout the wide one is shown on a phone too."""

    wide: Markup
    narrow: Markup | None


def template_environment() -> jinja2.Environment:
    """Returns the environment of the templates; only HTML templates escape automatically."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxreason.report", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.tests["formula"] = lambda part: isinstance(part, Formula)
    found.filters |= {"subscripts": _subscripts, "shortened": _shortened, "markdown": _markdown}
    found.globals["raw"] = lambda name: Markup(found.loader.get_source(found, name)[0])
    found.globals |= {"marker_path": marker_path, "colour_variables": colour_variables}
    found.globals["colour_name"] = variable
    return found


def page_content(
    summary: dict[str, Any],
    drawn: dict[str, Drawn],
    tables: dict[str, list[Table]],
    details: dict[str, str],
    views: dict[str, Any],
) -> dict[str, Any]:
    """Returns the values that the templates show.

    Args:
      summary: of summary.json.
      drawn: figures, by name.
      tables: by name.
      details: the titles of those tables that are folded away.
      views: the data of the partial templates of these names; empty if there is nothing.
    """
    said = captions(summary)
    found = {
        "summary": summary,
        "figures": shown_figures(drawn, said),
        "captions": said,
        "looks": looks(summary),
        "labels": arm_labels(summary),
        "group_label": group_label,
        "decoding_label": decoding_label,
        "way": WAYS[summary["variant"]],
        "answer_tables": answer_tables(summary),
        "tables": tables,
        "details": details,
        "views": views,
        "reading": reading(summary),
        "methods": methods(summary),
    }
    return found | {"sections": sections_shown(found)}


def render_pages(
    shown: dict[str, Any], drawn: dict[str, Drawn], archive: Archive
) -> dict[str, str]:
    """Returns the pages by name. The HTML page has as many samples as its size allows.

    If the rest of the page is so large that even the fewest samples do not fit, it has plainer figures.

    Args:
      shown: `page_content` without samples.
      drawn: the figures.
      archive: of all samples, written.
    """
    templates = template_environment()
    left = LARGEST - SLACK - len(_page(templates, "report.html", shown).encode())
    if left < 0:
        most = sum(map(_size, shown["figures"].values())) + left
        shown = shown | {"figures": shown_figures(drawn, shown["captions"], most)}
    views = shown["views"] | {"samples": browser(archive, max(0, min(left, SAMPLES_LARGEST)))}
    shown = shown | {"views": views}
    shown |= {"sections": sections_shown(shown)}
    return {name: _page(templates, name, shown) for name in ("report.md", "report.html")}


def _page(templates: jinja2.Environment, name: str, shown: dict[str, Any]) -> str:
    """Returns a rendered page without the characters that no page can have, whatever their source."""
    text = templates.get_template(f"{name}.jinja").render(**shown)
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", text)


def shown_figures(
    drawn: dict[str, Drawn], said: dict[str, Caption], most: int | None = None
) -> dict[str, PageFigure]:
    """Returns both layouts of every figure, limited to `most` bytes in total (default: FIGURES_LARGEST).

    The largest figures first lose their narrow layout and are then replaced by a PNG.
    """
    most = FIGURES_LARGEST if most is None else most
    ways: tuple[Callable[[str, Drawn, str], PageFigure], ...] = (_both, _wide_only, _raster)
    labels = {name: str(escape(f"{said[name].title}. {said[name].text}")) for name in drawn}
    found = {name: _both(name, figure, labels[name]) for name, figure in drawn.items()}
    tried = dict.fromkeys(drawn, 0)
    while sum(map(_size, found.values())) > most:
        left = [name for name in found if tried[name] < len(ways) - 1]
        if not left:
            break
        name = max(left, key=lambda name: _size(found[name]))
        tried[name] += 1
        found[name] = ways[tried[name]](name, drawn[name], labels[name])
    return found


def _size(shown: PageFigure) -> int:
    return len(shown.wide.encode()) + len((shown.narrow or "").encode())


def _both(name: str, figure: Drawn, label: str) -> PageFigure:
    narrow = Markup(inline_svg(figure.narrow_svg, f"{name}-narrow", label))
    return PageFigure(Markup(inline_svg(figure.svg, name, label)), narrow)


def _wide_only(name: str, figure: Drawn, label: str) -> PageFigure:
    return _both(name, figure, label)._replace(narrow=None)


def _raster(name: str, figure: Drawn, label: str) -> PageFigure:
    image = Image.open(io.BytesIO(figure.png)).convert("RGB")
    height = round(image.height * _PNG_WIDTH / image.width)
    small = image.resize((_PNG_WIDTH, height), Image.Resampling.LANCZOS).quantize(64)
    out = io.BytesIO()
    small.save(out, "png", optimize=True)
    data = base64.b64encode(out.getvalue()).decode()
    return PageFigure(Markup(f'<img src="data:image/png;base64,{data}" alt="{label}">'), None)


def _shortened(path: str) -> str:
    """Returns the last two parts of a folder's absolute path; names on the hub are unchanged."""
    return "/".join(epath.Path(path).parts[-2:]) if path.startswith("/") else path


def _subscripts(text: str) -> Markup:
    """Returns `D_b` with a real subscript; names with underscores are unchanged."""
    symbol = r"\b(DI|TI|base|mean|[A-Za-zΔΣ])_(\w+)"
    return Markup(re.sub(symbol, r"\1<sub>\2</sub>", str(escape(text))))


def _markdown(text: str) -> str:
    """Returns a text in markdown, with HTML and the bars of tables escaped."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.replace("|", "\\|").split("\n"))


def inline_svg(svg: str, name: str, label: str) -> str:
    """Returns an SVG element for the page.

    Args:
      svg: from matplotlib.
      name: a prefix for its ids, which share one page.
      label: the text for screen readers; already escaped.
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
    """Returns a colour as the page's style names it; a colour that is equal in light and dark is unchanged."""
    name = colour.lower().lstrip("#")
    return f"var(--c-{name})" if name in _names() else colour


def colour_variables(dark: bool) -> str:
    """Returns the page's colours of figures, as CSS declarations."""
    pairs = ((name, DARK[colour] if dark else colour) for name, colour in _names().items())
    return " ".join(f"--c-{name}: {colour};" for name, colour in pairs)


def _names() -> dict[str, str]:
    return {colour.lower().lstrip("#"): colour for colour in DARK}


def _short_numbers(svg: str) -> str:
    """Rounds coordinates to a hundredth of a point; numbers below 1 may be scales and are unchanged."""
    return re.sub(r"(?<![\d.\w])(-?[1-9]\d*\.\d{2})\d+", r"\1", svg)


def marker_path(marker: str) -> str:
    """Returns the outline of a marker in a box of -1 to 1, as the `d` of an SVG path."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    largest = abs(path.vertices).max()
    shapes = ([f"{x / largest:.2f} {-y / largest:.2f}" for x, y in s] for s in path.to_polygons())
    return " ".join(f"M{' L'.join(points)} Z" for points in shapes)
