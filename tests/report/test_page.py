"""The page as a reader's program meets it: its structure, and in a real browser where there is one."""

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from jaxreason.report import pages
from jaxreason.report.contents import Caption
from jaxreason.report.figure_files import Drawn
from jaxreason.report.pages import colour_variables, inline_svg, marker_path
from jaxreason.report.style import COLOURS, DARK, MARKERS

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")  # fmt: skip
VOID = {"meta", "img", "br", "link", "input", "source"}
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium")


class Page(HTMLParser):
    """Elements in order with their attributes; complains of an end that is not that of what is open."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def all(self, *tags):
        return [about for tag, about in self.elements if tag in tags]


@pytest.fixture(scope="module")
def drawn(study):
    """Names of the figures that the report has."""
    names = {path.stem for path in (study / "report" / "figures").glob("*.png")}
    assert names >= {"scores", "frontier", "benchmarks", "kl", "kl_positions", "training"}
    return names


@pytest.fixture(scope="module")
def page(study):
    return Page((study / "report" / "report.html").read_text())


def test_elements_are_closed_and_ids_are_those_of_one(page):
    assert page.open == []
    ids = [about["id"] for _, about in page.elements if "id" in about]
    assert len(ids) == len(set(ids)) and "answer" in ids and "samples" in ids
    targets = {about["href"] for about in page.all("a", "use") if about.get("href")}
    targets |= {about["xlink:href"] for about in page.all("use")}
    assert {target[1:] for target in targets} <= set(ids)


def test_a_screen_reader_has_a_name_for_every_figure_table_and_heading(page, drawn):
    svgs = [about for about in page.all("svg") if about.get("aria-hidden") != "true"]
    assert len(svgs) == 2 * len(drawn)
    assert all(about["role"] == "img" and len(about["aria-label"]) > 20 for about in svgs)
    scrolled = [about for about in page.all("div") if about.get("class") == "scroll"]
    assert all(about.get("aria-label") or about is scrolled[-1] for about in scrolled)
    assert all(about.get("scope") for about in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1


def test_without_its_script_the_page_still_shows_samples(study):
    text = (study / "report" / "report.html").read_text()
    first = text[text.index('id="samples-first"') : text.index('id="samples-data"')]
    assert first.count("<article") >= 2 and "Right answer" in first


def test_figures_take_their_colours_from_the_page(study):
    text = (study / "report" / "report.html").read_text()
    drawn = "".join(re.findall(r'<div class="(?:wide|narrow)">.*?</div>', text, re.DOTALL))
    assert "var(--c-202124)" in drawn and not re.search(r"#202124|#ffffff", drawn)
    for colour in COLOURS[:4]:
        assert colour not in drawn and f"var(--c-{colour[1:].lower()})" in drawn
        assert f"--c-{colour[1:].lower()}: {DARK[colour]};" in text
    svg = (study / "report/figures/scores.svg").read_text()
    assert "var(" not in svg and "#202124" in svg
    ElementTree.fromstring(svg)


def test_an_inline_figure_keeps_texts_on_colours_and_small_scales():
    svg = (
        '<?xml?><svg width="9pt" viewBox="0 0 9 9"><style>*{}</style><g id="a" style="fill: #FFFFFF; stroke: #202124">'
        '<text style="fill: #ffffff" transform="scale(0.015625)">x</text><path d="M 10.123456 -2.5"/>'
        '<use xlink:href="#a" clip-path="url(#a)"/></g></svg>'
    )
    found = inline_svg(svg, "n", "said")
    assert found == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="said"><g id="n-a" style="fill: var(--c-ffffff); '
        'stroke: var(--c-202124)"><text style="fill: #ffffff" transform="scale(0.015625)">x</text>'
        '<path d="M 10.12 -2.5"/><use xlink:href="#n-a" clip-path="url(#n-a)"/></g></svg>'
    )
    assert "--c-202124: #202124;" in colour_variables(dark=False)
    assert all(marker_path(marker).endswith("Z") for marker in MARKERS)


@pytest.mark.parametrize("dark", [False, True])
def test_arms_can_be_told_apart_with_every_common_colour_blindness(dark):
    """Distance in CIELAB as Machado, Oliveira and Fernandes (2009) simulate it; markers differ besides."""
    simulated = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }  # fmt: skip
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # fmt: skip

    def lab(colour, matrix):
        rgb = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        x, y, z = np.cbrt(to_xyz @ np.clip(matrix @ linear, 0, 1) / (0.9505, 1, 1.089))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    colours = [DARK[colour] if dark else colour for colour in COLOURS]
    for matrix in (np.eye(3), *map(np.array, simulated.values())):
        found = [lab(colour, matrix) for colour in colours]
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(found) for b in found[:i]]
        assert min(pairs) > 12
    assert len(set(MARKERS)) == len(MARKERS) >= 10


def test_figures_that_are_too_large_become_pictures(monkeypatch):
    svg = '<svg viewBox="0 0 1 1">' + "<g></g>" * 1000 + "</svg>"
    png = small_png()
    drawn = {"big": Drawn(svg * 5, svg, png), "small": Drawn(svg, svg, png)}
    said = {name: Caption(name, "said") for name in drawn}
    monkeypatch.setattr(pages, "FIGURES_LARGEST", 16_000)
    found = pages.shown_figures(drawn, said)
    assert found["big"].wide.startswith("<img") and found["big"].narrow is None
    assert found["small"].wide.startswith("<svg") and found["small"].narrow is not None
    monkeypatch.setattr(pages, "FIGURES_LARGEST", 10_000)
    assert pages.shown_figures(drawn, said)["small"].narrow is None
    monkeypatch.setattr(pages, "FIGURES_LARGEST", 100_000)
    assert pages.shown_figures(drawn, said)["big"].narrow is not None


def small_png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "white").save(out, "png")
    return out.getvalue()


def in_browser(report, tmp_path, width: int, script: str) -> tuple[dict, str]:
    """What `script` returns in the page, `width` pixels wide, and what the console says."""
    copy = report / f"probe_{width}.html"
    post = (
        "<script>addEventListener('load', async () => { let said; try { said = await (async () => {"
        + script
        + "})(); } catch (error) { said = {error: String(error)}; } parent.postMessage(said, '*'); });</script>"
    )
    copy.write_text((report / "report.html").read_text().replace("</body>", post + "</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<body><pre></pre><iframe src="file://{copy}" style="width:{width}px;height:900px"></iframe>'
        "<script>addEventListener('message', (m) => {document.querySelector('pre').textContent = "
        "'SAID' + JSON.stringify(m.data) + 'END'})</script>"
    )
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--v=0",
    )
    ran = subprocess.run(
        [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
         "--window-size=1400,1000", "--dump-dom", f"file://{frame}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    copy.unlink()
    said = re.search("SAID(.*?)END</pre>", ran.stdout, re.DOTALL)
    assert said, ran.stdout[-500:] + ran.stderr[-2000:]
    unescaped = said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(unescaped), "\n".join(x for x in ran.stderr.splitlines() if "CONSOLE" in x)


DRIVE = """
const wait = async (test) => {
  for (let i = 0; i < 400 && !test(); i++) await new Promise((go) => setTimeout(go, 20));
};
const box = document.getElementById("samples");
const [source, set, arm, seed, kind] = box.querySelectorAll("select");
const search = box.querySelector("input"), status = box.querySelector("output");
const change = (control, value) => { control.value = value; control.dispatchEvent(new Event("change")); };
const total = () => Number((status.textContent.match(/of ([\\d,]+)$/) ?? [0, "0"])[1].replace(/,/g, ""));
await wait(() => box.querySelector("article"));
const out = { wide: [document.documentElement.scrollWidth, innerWidth] };
out.first = document.getElementById("samples-first");
out.chosen = total();
out.labelled = [...box.querySelectorAll("select, input")].every((control) => control.labels.length === 1);
change(source, "files");
await wait(() => total() > out.chosen);
change(kind, "");
await wait(() => /of [\\d,]+$/.test(status.textContent) && total() > 400);
out.all = total();
change(kind, "10");
await wait(() => total() < out.all);
out.worse = total();
out.kinds = [...new Set([...box.querySelectorAll(".kind")].map((one) => one.textContent))];
box.querySelectorAll("button")[1].click();
await wait(() => /^6 to/.test(status.textContent));
out.second = status.textContent;
change(kind, "");
search.value = "synthetic_add-17"; search.dispatchEvent(new Event("input"));
await wait(() => total() === 2);
out.found = total();
out.mark = box.querySelector("mark")?.textContent;
const table = [...document.querySelectorAll("table.sorts")].find((one) => one.tBodies[0].rows.length === 4);
const names = () => [...table.tBodies[0].rows].map((row) => row.cells[1].firstChild.textContent);
const head = table.tHead.rows[0].cells[1];
out.before = names(); head.querySelector("button").click();
out.sorted = names(); out.aria = head.getAttribute("aria-sort");
head.querySelector("button").click(); head.querySelector("button").click();
out.after = names(); out.cleared = head.getAttribute("aria-sort");
const paper = () => getComputedStyle(document.body).backgroundColor;
out.light = paper(); document.querySelector(".kicker button").click(); out.dark = paper();
return out;
"""


@needs_browser
def test_in_a_browser_samples_tables_and_colours_work_and_nothing_complains(study, tmp_path):
    said, console = in_browser(study / "report", tmp_path, 1280, DRIVE)
    assert console == "" and "error" not in said, said
    assert said["wide"][0] <= said["wide"][1] == 1280
    assert said["first"] is None and said["labelled"]
    assert said["chosen"] < said["all"] and said["worse"] < said["all"]
    # 6 tasks in two decodings, 40 questions each, and those of one that was asked in another way besides
    assert said["all"] == 14 * 40
    assert said["kinds"] == ["right to wrong"] and said["second"].startswith("6 to 10 of")
    assert said["found"] == 2 and said["mark"] == "synthetic_add-17"
    values = [float(text.replace("−", "-")) for text in said["sorted"]]
    assert values == sorted(values, reverse=True) and sorted(said["before"]) == sorted(said["sorted"])  # fmt: skip
    assert said["aria"] == "descending" and said["after"] == said["before"]
    assert said["cleared"] is None and said["light"] != said["dark"]


@needs_browser
def test_on_a_phone_only_tables_scroll_sideways(study, tmp_path):
    script = """return { wide: [document.documentElement.scrollWidth, innerWidth],
      shown: [...document.querySelectorAll("figure .wide")].filter((one) => one.offsetWidth > 0).length };"""
    said, console = in_browser(study / "report", tmp_path, 390, script)
    assert console == "" and said == {"wide": [390, 390], "shown": 0}
