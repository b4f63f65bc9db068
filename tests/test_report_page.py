"""The page of the report: it stands alone, everybody can read it, and nothing in it runs but its own scripts."""

import base64
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

import hormesis_fit as hf
from hormesis_fit.figures.palette import figure_data
from hormesis_fit.report.interactive import scripts
from hormesis_fit.report.writing import render_report

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
SCRIPT = "<script>alert(1)</script>"
BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


class Outline(HTMLParser):
    """The elements of a page in order, each as (tag, attributes), with the texts of headings, scripts and cells."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")

        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.elements and self.open:
            self.texts[-1] += data

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]

    def scripts(self):
        return [(attrs, text) for (tag, attrs), text in zip(self.elements, self.texts, strict=True) if tag == "script"]


def views(page):
    """Return what Plotly draws, by figure."""
    return {
        attrs["id"].removeprefix("view-"): json.loads(text)
        for attrs, text in Outline(page).scripts()
        if attrs.get("type") == "application/json"
    }


@pytest.fixture(scope="module")
def fit():
    fitted = hf.fit(hf.load_dataset("lettuce", standard_dose=50.0), curve=["BrainCousens", "LogLogistic"], **FAST)
    fitted["window"] = hf.window(fitted)
    return fitted


@pytest.fixture(scope="module")
def page(fit):
    return render_report(fit)


@pytest.fixture(scope="module")
def hostile():
    table = {
        SCRIPT: [0, 0, 1, 1, 3, 3, 10, 10],
        "<b>y</b>": [1.0, 1.1, 1.3, 1.2, None, 0.9, 0.4, 0.5],
    }
    trial = hf.read_trial(
        table, dose=SCRIPT, response="<b>y</b>", dose_unit="<i>mg</i>", response_unit='"><img src=x>', missing="drop"
    )
    trial.attrs["notes"] = ["<u>note</u>", "second & last"]
    return hf.fit(trial, curve="BrainCousens", **FAST)


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def test_the_page_stands_alone(page, outline):
    assert not [attrs for attrs in outline.all("script", "img", "iframe", "link") if "//" in attrs.get("src", "")]
    assert not outline.all("link", "iframe", "object", "embed", "form")
    assert {attrs["src"][:10] for attrs in outline.all("img")} == {"data:image"}
    [style] = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert not re.search(r"url\(|@import", style)
    assert len(page) < 6_000_000  # five of them Plotly


def test_nothing_but_its_own_scripts_may_run(page, outline):
    [policy] = [one["content"] for one in outline.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    ran = [text for attrs, text in outline.scripts() if "type" not in attrs]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in ran}
    assert len(ran) == 2
    assert digests == set(re.findall(r"'sha256-([^']+)'", policy))
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"\son[a-z]+=", page.replace(str(scripts()["library"]), ""))
    assert "</script" not in str(scripts()["library"]).lower()


def test_the_page_has_landmarks_and_a_way_past_the_beginning(outline):
    assert outline.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in outline.elements if tag in ("header", "nav", "main", "footer")] == [
        *("header", "nav", "main", "footer")
    ]
    first = next(attrs for tag, attrs in outline.elements if tag in ("a", "button", "input", "summary"))
    assert first == {"class": "skip", "href": "#main"}
    names = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    assert len(names) == len(set(names))
    assert all(attrs.get("aria-label") for attrs in outline.all("nav"))


def test_headings_descend_one_by_one(outline):
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert max(np.diff(levels)) == 1


def test_cells_have_headers(outline):
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table"))
    rows = [tag for tag, _ in outline.elements if tag in ("tr", "th")]
    assert all(following == "th" for tag, following in itertools.pairwise(rows) if tag == "tr")


def test_every_picture_says_what_is_seen(outline):
    pictures = [attrs["alt"] for attrs in outline.all("img")]
    assert len(pictures) == len(set(pictures)) == 5 + 2
    figures = [alt for alt in pictures if not alt.startswith("Formula, in LaTeX: ")]
    assert len(figures) == 5
    for words in (
        "No dose reaches probability 0.80",
        "peak dose 0.",
        "P(hormesis) = 0.8",
        "None of the 7 observed group",
    ):
        assert [alt for alt in figures if words in alt], words


def luminance(colour):
    digits = colour.lstrip("#")
    digits = "".join(2 * one for one in digits) if len(digits) == 3 else digits
    parts = np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """Contrast of two colours, by the Web Content Accessibility Guidelines."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_text_can_be_told_from_its_ground(page):
    assert contrast("#000", "#fff") == pytest.approx(21)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.S)
    named = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", style))
    written = set(re.findall(r"(?<![-\w])color: ([^;]+);", style))
    grounds = set(re.findall(r"background: ([^;]+);", style))
    assert {*written, *grounds} <= {f"var(--{name})" for name in named} | {"inherit"}
    for text in written - {"inherit"}:
        for ground in grounds:
            assert contrast(named[text[6:-1]], named[ground[6:-1]]) >= 4.5, (text, ground)
    words = re.findall(
        r"rgba\((\d+),(\d+),(\d+),1\)", json.dumps([one["layout"]["font"] for one in views(page).values()])
    )
    assert words
    assert all(contrast("#" + "".join(f"{int(part):02x}" for part in one), "#fff") >= 4.5 for one in words)


def test_print_leaves_out_what_paper_cannot_do(page):
    [style] = re.findall(r"<style>(.*?)</style>", page, re.S)
    printed = style[style.index("@media print") :]
    [hidden] = re.findall(r"([^{}]+) \{ display: none; \}", printed)
    assert {".live", ".review", ".skip", "details"} == {one.strip() for one in hidden.split(",")}
    # Pictures are taken off the page on a screen alone.
    assert "clip-path" in style[style.index("@media screen") : style.index("@media (max-width")]
    assert style.count("clip-path") == 1
    assert ":focus-visible { outline: 3px solid" in style


def test_a_pointer_reads_what_the_figures_show(fit, page):
    shown = views(page)
    assert list(shown) == ["window", "exceedance"]
    curve = figure_data(hf.plot_window(fit))["window"]["mean_response"].sel(quantile=0.5)
    chances = figure_data(hf.plot_exceedance(fit))["exceedance"]["probability"]
    [beyond, zero] = [one for one in shown["window"]["data"] if "hovertemplate" in one]
    np.testing.assert_allclose(beyond["x"], curve["dose"][1:], rtol=1e-4)
    np.testing.assert_allclose(beyond["y"], curve[1:], rtol=1e-4)
    np.testing.assert_allclose(zero["y"], curve[:1], rtol=1e-4)
    [pointed] = [one for one in shown["exceedance"]["data"] if "hovertemplate" in one]
    np.testing.assert_allclose(pointed["y"], chances, rtol=1e-4)
    place = int(np.argmax(pointed["y"]))
    assert pointed["customdata"][place][-1] == beyond["customdata"][place][-1]
    dose, share = re.fullmatch(
        r"dose (\S+) mg/L \((\S+) % of the standard dose\)", pointed["customdata"][place][0]
    ).groups()
    assert float(dose) == pytest.approx(float(fit["window"]["best_dose"]), rel=0.15)
    assert float(share) == pytest.approx(2 * float(dose), rel=0.01)
    assert float(pointed["customdata"][place][-1]) == pytest.approx(float(fit["window"]["max_probability"]), abs=0.01)
    assert zero["customdata"][0][0] == "no drug"
    assert zero["customdata"][0][-1] == "–"


def test_dose_zero_has_an_axis_of_its_own(fit, page):
    view = views(page)["window"]
    below, beyond = view["layout"]["xaxis"], view["layout"]["xaxis2"]
    assert beyond["type"] == "log"
    assert below["ticktext"] == ["0"]
    assert below["domain"][1] < beyond["domain"][0]
    for one in views(page).values():  # Plotly leaves out an axis that has no trace
        assert {trace["xaxis"] for trace in one["data"]} == {"x", "x2"}
    rows = [one for one in view["data"] if one.get("marker", {}).get("symbol") == "circle" and one["x"] != [None]]
    assert {one["xaxis"]: len(one["x"]) for one in rows} == {"x": 2, "x2": 12}
    np.testing.assert_allclose(10 ** np.array(beyond["range"]), fit["window"].attrs["domain"], rtol=1e-9)


def test_a_pointer_learns_nothing_of_hidden_subjects():
    response = np.sqrt(np.arange(2, 14))
    rows = {"dose": np.repeat([0.0, 1.0, 10.0], 4), "response": response, "who": list("abcdefghijkl")}
    fitted = hf.fit(hf.read_trial(rows, subject="who"), curve="BrainCousens", vary={}, **FAST)

    def circles(page):
        shown = [one for one in views(page)["window"]["data"] if one.get("marker", {}).get("symbol") == "circle"]
        return sorted(value for one in shown for value in one["y"] if value)

    np.testing.assert_allclose(circles(render_report(fitted, show_subjects=True)), response, rtol=1e-4)
    np.testing.assert_allclose(circles(render_report(fitted)), response.reshape(3, 4).mean(axis=1), rtol=1e-4)


def test_markup_cannot_leave_the_figures(hostile):
    page = render_report(hostile)
    found = Outline(page)
    assert len(found.scripts()) == 4
    assert not found.all("b", "i", "u")
    assert SCRIPT not in page
    view = views(page)["window"]
    assert view["layout"]["xaxis2"]["title"]["text"] == "&lt;script&gt;alert(1)&lt;/script&gt; (&lt;i&gt;mg&lt;/i&gt;)"
    told = [text for one in view["data"] if "customdata" in one for row in one["customdata"] for text in row]
    assert not [text for text in told if "<" in text and not text.startswith("<0.01")]
    assert [text for text in told if "&lt;i&gt;mg" in text]


def looked_at(page, folder, *options):
    """Return the page as Chromium leaves it, and what it complains of."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [BROWSER, "--headless", "--disable-gpu", "--virtual-time-budget=10000", "--enable-logging=stderr"]
    # A container's root has no other sandbox to run in.
    command += ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    command += [f"--user-data-dir={folder / 'profile'}", *options, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, encoding="utf-8")
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("size", ["1280,900", "390,844"], ids=["desktop", "phone"])
def test_chromium_draws_the_figures_without_complaint(page, tmp_path, size):
    seen, complaints = looked_at(page, tmp_path, f"--window-size={size}", "--host-resolver-rules=MAP * ~NOTFOUND")
    assert complaints == []
    figures = [attrs for attrs in Outline(seen).all("figure") if "drawn" in attrs.get("class", "")]
    assert len(figures) == 2
    assert seen.count('class="trace scatter') > 10
    assert "% of the standard dose" in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_chromium_runs_no_script_of_a_name(hostile, tmp_path):
    page = render_report(hostile).replace("alert(1)", "document.title='taken'")
    seen, complaints = looked_at(page, tmp_path)
    assert "<title>Micro-dose window: table</title>" in seen or "<title>Micro-dose window: trial</title>" in seen
    assert complaints == []
    assert "<i>mg" not in seen
