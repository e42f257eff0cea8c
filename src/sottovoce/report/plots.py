"""Size against quality along the stages, drawn once and coloured by the page's style sheet."""

import io
import re
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sottovoce.report import words

# matplotlib wants colours, the page wants names that change between light and dark: each colour here is a
# stand-in that occurs nowhere else and is replaced by its name in the finished drawing.
INK, QUIET, GRID, PATH, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
NAMES = {INK: "--ink", QUIET: "--quiet", GRID: "--line", PATH: "--compressed", PAPER: "--card"}

STYLE = {
    "svg.fonttype": "none",              # text stays text: selectable, and set in the page's own font
    "font.size": 11,
    "axes.edgecolor": GRID, "axes.labelcolor": QUIET, "axes.linewidth": 1,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID, "grid.linewidth": 1,
    "xtick.color": GRID, "xtick.labelcolor": QUIET, "ytick.color": GRID, "ytick.labelcolor": QUIET,
    "ytick.left": False,
}
NUMBERED = 14                            # with more stages than this only the first and the last are numbered


def size_against_quality(name: str, sizes: Sequence[float], scores: Sequence[float]) -> str:
    """One metric over the file size, a numbered point per stage, as inline SVG; sizes in bytes, at least one."""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.0, 3.3), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot(facecolor="none")
        _axes(axes, name, sizes)
        axes.axhline(scores[0], color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.plot(sizes, scores, color=PATH, linewidth=2, solid_joinstyle="round", zorder=2)
        _points(axes, sizes, scores)
        drawing = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None, "Creator": None})
    return inline(drawing.getvalue(), prefix=name)


def _axes(axes: Axes, name: str, sizes: Sequence[float]) -> None:
    spread = max(sizes) / min(sizes)
    if spread > 3:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if spread > 100 else (1, 2, 5) if spread < 30 else (1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(max(sizes) * spread**0.09, min(sizes) / spread**0.09)      # smaller lies to the right
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        margin = 0.1 * (max(sizes) - min(sizes)) or 0.2 * max(sizes)
        axes.set_xlim(max(sizes) + margin, min(sizes) - margin)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: words.size(count).replace(".00", "").replace(".0", "")))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(y=0.15)
    unit = words.metric(name).unit
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} {unit}".strip().replace("-", words.MINUS)))


def _points(axes: Axes, sizes: Sequence[float], scores: Sequence[float]) -> None:
    last = len(sizes) - 1
    for index, (x, y) in enumerate(zip(sizes, scores, strict=True)):
        if index in (0, last) or last < NUMBERED:
            axes.plot(x, y, "o", markersize=16, markeredgewidth=2, markeredgecolor=PAPER,
                      color=INK if index in (0, last) else PATH, zorder=3 + index)
            axes.annotate(str(index), (x, y), color=PAPER, ha="center", va="center_baseline", fontsize=9,
                          fontweight="bold", zorder=3.5 + index)
        else:
            axes.plot(x, y, "o", markersize=5, color=PATH, zorder=3)


def inline(svg: str, prefix: str) -> str:
    """The drawing as an element of an HTML page: no prolog, no fixed size, ids of its own, the page's colours."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{re.escape(prefix)}-", svg)
    for colour, variable in NAMES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)
