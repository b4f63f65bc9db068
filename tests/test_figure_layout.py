"""Every figure at both widths in both palettes: legible, unclipped, nothing over anything else, its numbers kept."""

import importlib.util
import itertools
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import hormesis_fit as hf

ROOT = Path(__file__).parent.parent
SMALLEST = 6.0  # points
TOUCHING = 0.3  # points that boxes of texts may share: they are a little larger than their letters
PUBLIC = [name for name in hf.__all__ if name.startswith("plot_")]


def load_examples():
    spec = importlib.util.spec_from_file_location("make_images", ROOT / "notebooks" / "images" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = load_examples()
DRAWN = {name: plot for name, (_, plot) in EXAMPLES.FIGURES.items()} | EXAMPLES.MORE
LOOKS = [("single", "light"), ("double", "print")]  # a width has its layout whatever the palette


def texts_of(figure):
    """Visible texts of a figure that was drawn, with their boxes in points."""
    scale = 72 / figure.dpi
    for text in figure.findobj(mpl.text.Text):
        if text.get_text().strip() and text.get_visible() and shown(text, figure):
            box = text.get_window_extent()
            yield text, box.transformed(mpl.transforms.Affine2D().scale(scale))


def shown(text, figure):
    """Whether a text is drawn at all: labels of ticks beyond the ends of their axis are not."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            if any(text in (tick.label1, tick.label2) for tick in ticks):
                drawn = axis._update_ticks()
                return any(text in (tick.label1, tick.label2) for tick in drawn)
    return True


def layout_faults(figure):
    """Say what is wrong with the texts of a figure."""
    figure.draw_without_rendering()
    texts = list(texts_of(figure))
    width, height = 72 * figure.get_size_inches()
    faults = [f"small: {text.get_text()!r}" for text, _ in texts if text.get_fontsize() < SMALLEST]
    for text, box in texts:
        if box.x0 < -TOUCHING or box.y0 < -TOUCHING or box.x1 > width + TOUCHING or box.y1 > height + TOUCHING:
            faults.append(f"clipped: {text.get_text()!r}")
        if re.search(r"[$^_].*\$", text.get_text()) and text.get_parse_math():
            faults.append(f"small indices: {text.get_text()!r}")
    for (one, first), (other, second) in itertools.combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        if across > TOUCHING and along > TOUCHING:
            faults.append(f"over each other: {one.get_text()!r}, {other.get_text()!r}")
    return faults


def coordinates(figure):
    """Yield what every artist with a name draws in data coordinates: the name, its axis, and the numbers."""
    for axes in figure.axes:
        for artist in axes.get_children():
            name = artist.get_gid() or ""
            if not name or name.startswith(UNKEPT):
                continue
            direct = artist.get_transform() == axes.transData or isinstance(artist, mpl.collections.Collection)
            points = np.concatenate([path.vertices for path in paths_of(artist)] or [np.empty((0, 2))])
            if not name.startswith(PLACED_ACROSS):
                yield name, "x", points[:, 0]
            if direct and not name.startswith(PLACED_UP):
                yield name, "y", points[:, 1]


def paths_of(artist):
    if isinstance(artist, mpl.lines.Line2D):
        return [mpl.path.Path(np.column_stack(artist.get_data()).astype(float))]
    if isinstance(artist, mpl.collections.LineCollection | mpl.collections.PolyCollection):
        return artist.get_paths()
    if isinstance(artist, mpl.patches.Rectangle):
        box = artist.get_bbox()
        return [mpl.path.Path([(box.x0, box.y0), (box.x1, box.y1)])]
    return []


UNKEPT = ("axis_break", "letter", "isobole", "selected", "other_curves", "harm", "last_visit", "unchanged", "rug_")
# At a place that is no number: a stub around dose 0, rows of names, bars below a share, the height of an axis.
PLACED_ACROSS = ("control", "median_control", "gain_control", "example_control", "level", "threshold")
PLACED_UP = ("density_", "median_peak", "median_window", "median_zero", "interval_", "weight_", "prior_", "windows")
PLACED_UP += ("window", "rug", "visits", "stems", "reestimate")


def kept_numbers(figure):
    tree = hf.figure_data(figure)
    values = [variable.values for node in tree.subtree for variable in node.to_dataset().variables.values()]
    numbers = np.concatenate([np.ravel(one).astype(float) for one in values if one.dtype.kind in "fiub"])
    return np.unique(np.append(numbers[np.isfinite(numbers)], 0.0))


def unkept(figure):
    """Name what is drawn and is in no number behind the figure."""
    kept = kept_numbers(figure)
    for name, way, drawn in coordinates(figure):
        drawn = drawn[np.isfinite(drawn)]
        places = np.clip(np.searchsorted(kept, drawn), 1, len(kept) - 1)
        gaps = np.minimum(abs(kept[places] - drawn), abs(drawn - kept[places - 1]))
        if (gaps > 1e-6 * np.maximum(abs(drawn), 1e-6)).any():
            yield f"{name}, {way}"


def test_there_is_an_example_of_every_figure():
    assert sorted(EXAMPLES.FIGURES) == sorted(PUBLIC)


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_legible_at_both_widths_in_both_palettes(name):
    faults = {}
    for width, palette in LOOKS:
        figure = DRAWN[name](width=width, palette=palette)
        assert figure.get_figwidth() == pytest.approx({"single": 89, "double": 183}[width] / 25.4)
        faults |= {(width, palette, fault): True for fault in layout_faults(figure)}
        assert figure.get_figheight() < 247 / 25.4
    assert not list(faults)
    assert not list(unkept(figure))
    for node in hf.figure_data(figure).subtree:
        for variable in node.to_dataset().data_vars.values():
            assert {"units", "long_name"} <= set(variable.attrs)


def test_faults_are_found():
    figure = Figure(figsize=(2, 2))
    for place, size in ((0.5, 8), (0.52, 8), (0.95, 5)):
        figure.text(place, 0.5, "words", fontsize=size)
    found = " ".join(layout_faults(figure))
    assert all(word in found for word in ("small", "clipped", "over each other"))


def test_axes_of_the_user_have_their_numbers_too():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    hf.plot_window(EXAMPLES.undecided(), ax=left)
    hf.plot_exceedance(EXAMPLES.undecided(), ax=right)
    data = hf.figure_data(figure)
    assert set(data.children) == {"window", "exceedance"}
    assert data["window"]["mean_response"].attrs["units"] == "g"
    assert float(data["exceedance"]["level"]) == 0.8
    with pytest.raises(ValueError, match="nothing that a plot_"):
        hf.figure_data(Figure())


def test_hidden_subjects_are_not_in_the_numbers():
    drawn = hf.figure_data(hf.plot_window(EXAMPLES.people()))["window"]
    assert not [name for name in drawn if str(name).startswith("observed")]
    assert "group_mean" in drawn


def test_print_is_readable_without_colour():
    figure = hf.plot_window(EXAMPLES.average(), palette="print")
    colours = [
        one for patch in figure.findobj(mpl.patches.Patch) for one in (patch.get_facecolor(), patch.get_edgecolor())
    ]
    for line in figure.findobj(mpl.lines.Line2D):  # a line that only marks points has a colour that nobody sees
        seen = [line.get_color()] if line.get_linestyle() != "None" else []
        seen += [line.get_markeredgecolor()] if line.get_marker() not in (None, "None") else []
        seen += [line.get_markerfacecolor()] if line.get_marker() == "o" else []
        colours += [mpl.colors.to_rgba(one) for one in seen]
    assert all(np.ptp(colour[:3]) < 1e-9 for colour in colours)
    hatches = {patch.get_gid(): patch.get_hatch() for patch in figure.findobj(mpl.patches.Patch) if patch.get_gid()}
    assert len({hatches["window_0.5"], hatches["window_0.8"]}) == 2


def test_unknown_looks_are_refused():
    with pytest.raises(ValueError, match='did you mean "print"'):
        hf.plot_window(EXAMPLES.average(), palette="prints")


def test_whoever_saves_a_figure_gets_its_fonts(tmp_path):
    figure = hf.plot_weights(EXAMPLES.undecided())
    figure.savefig(tmp_path / "weights.pdf")
    figure.savefig(tmp_path / "weights.svg")
    content = (tmp_path / "weights.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert "<text" not in (tmp_path / "weights.svg").read_text(encoding="utf-8")
