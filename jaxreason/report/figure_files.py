"""Writes a figure to files: wide and narrow SVG and a PNG, with panel titles that fit."""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxreason.report.style import figure_settings, find_layout

BROWSER_FONTS = "font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
# Titles up to this share of a column's width fit in any layout.
SAFE_TITLE = 0.6
TITLE_GAP = 8  # Pixels between two titles.
PNG_DPI = 200  # Dots per inch.


class Drawn(NamedTuple):
    """A figure as files: wide and narrow SVG, and a PNG of the wide one."""

    svg: str
    narrow_svg: str
    png: bytes


def render_figure(
    function: Callable[[dict, bool], Figure | None], summary: dict[str, Any]
) -> Drawn | None:
    """Returns both layouts of a figure; None if the summary has nothing to draw."""
    with matplotlib.rc_context(figure_settings()):
        wide = function(summary, False)
        if wide is None:
            return None
        narrow = function(summary, True)
        for figure in (wide, narrow):
            wrap_titles(figure)
            find_layout(figure)
        return Drawn(_svg(wide), _svg(narrow), _png(wide))


def _svg(figure: Figure) -> str:
    # `savefig` would draw twice, and find a layout again.
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return re.sub(r"font-family: [^;\"]*", BROWSER_FONTS, text[text.index("<svg") :])


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.set_dpi(PNG_DPI)
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def wrap_titles(figure: Figure) -> None:
    """Breaks titles between words if they would reach the next title or leave the figure. Call it when all is drawn."""
    titles = {axes: _title_of(axes) for axes in figure.axes if axes.get_visible()}
    titles = {axes: title for axes, title in titles.items() if title is not None}
    columns = max((a.get_subplotspec().get_gridspec().ncols for a in titles), default=1)
    widths = (title.get_window_extent().width for title in titles.values())
    if max(widths, default=0) < SAFE_TITLE * figure.bbox.width / columns:
        return  # Finding the layout takes time.
    figure.get_layout_engine().execute(figure)
    before = [title.get_text() for title in titles.values()]
    boxes = {axes: axes.get_window_extent() for axes in titles}
    for axes, title in titles.items():
        row = (b for b in boxes.values() if abs(b.y1 - boxes[axes].y1) < 1)
        right = min((b.x0 for b in row if b.x0 > boxes[axes].x0), default=figure.bbox.x1)
        _wrap_title(title, right - boxes[axes].x0 - TITLE_GAP)
    if before == [title.get_text() for title in titles.values()]:
        figure.set_layout_engine("none")  # The layout is found: no title became higher.


def _title_of(axes: Axes) -> Text | None:
    said = axes.get_title("left")
    texts = (child for child in axes.get_children() if isinstance(child, Text))
    return next((text for text in texts if text.get_text() == said), None) if said else None


def _wrap_title(title: Text, room: float) -> None:
    """Wraps a title greedily; a word that is wider than `room` pixels stays whole."""
    done: list[str] = []
    for line in title.get_text().split("\n"):
        words = line.split(" ")
        done.append(words[0])
        for word in words[1:]:
            title.set_text(f"{done[-1]} {word}")
            if title.get_window_extent().width > room:
                done.append(word)
            else:
                done[-1] = f"{done[-1]} {word}"
    title.set_text("\n".join(done))
