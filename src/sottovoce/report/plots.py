"""Size against quality along the stages, drawn once and coloured by the page's style sheet."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sottovoce import scales
from sottovoce.report import words

# matplotlib wants colours, the page wants names that change between light and dark: each colour here is a
# stand-in that occurs nowhere else and is replaced by its name in the finished drawing.
INK, QUIET, GRID, PATH, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
NAMES = {INK: "--ink", QUIET: "--quiet", GRID: "--line", PATH: "--compressed", PAPER: "--card"}

STYLE: Any = {                           # matplotlib types every name of a setting; that helps nobody here
    "svg.fonttype": "none",              # text stays text: selectable, and set in the page's own font
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": GRID,
    "xtick.labelcolor": QUIET,
    "ytick.left": False,
    "ytick.labelcolor": QUIET,
}
ROOMY, NUMBERED = 13, 30                 # with more stages the numbers are smaller; only the ends have one


class Point(NamedTuple):
    """A stage in the drawing."""

    number: int
    size: float                          # bytes
    score: float


def size_against_quality(name: str, points: Sequence[Point]) -> str:
    """One metric over the file size, a numbered point per stage, as inline SVG; at least one point."""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.0, 3.3), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot(facecolor="none")
        axes.axhline(points[0].score, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        sizes, scores = np.array([(point.size, point.score) for point in points]).T
        axes.plot(sizes, scores, color=PATH, linewidth=1, alpha=0.5, zorder=2)
        kept = settled(sizes)
        axes.plot(sizes[kept], scores[kept], color=PATH, linewidth=2.5, zorder=2)
        _mark(axes, points)
        _size_axis(axes, sizes)
        _score_axis(axes, scales.metric(name).unit)
        if scales.metric(name).lower_is_better:
            axes.invert_yaxis()
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return inline(drawing.getvalue(), prefix=name)


def settled(sizes: Sequence[float]) -> list[int]:
    """The stages after which the size fell by 3 % or more, and the last: what was reached at each size."""
    return [at for at, size in enumerate(sizes) if at == len(sizes) - 1 or sizes[at + 1] < 0.97 * size]


def _mark(axes: Axes, points: Sequence[Point]) -> None:
    ends = (points[0], points[-1])
    width = 16 if len(points) <= ROOMY else 13
    for order, point in enumerate(points, 3):
        where, colour = (point.size, point.score), INK if point in ends else PATH
        if point not in ends and len(points) > NUMBERED:
            axes.plot(*where, "o", markersize=5, color=colour, zorder=order)
            continue
        axes.plot(*where, "o", markersize=width, color=colour, mec=PAPER, mew=1.5, zorder=order)
        axes.annotate(
            str(point.number), where, color=PAPER, ha="center", va="center_baseline",
            fontsize=0.56 * width, fontweight="bold", zorder=order + 0.5,
        )


def _size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    """Smaller lies to the right; by powers of ten where the sizes differ much."""
    largest, smallest = max(sizes), min(sizes)
    ratio = largest / smallest
    if ratio > 3:
        axes.set_xscale("log")
        steps = (1, 2, 5) if ratio < 30 else (1, 3) if ratio < 100 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(largest * ratio**0.09, smallest / ratio**0.09)
    else:
        margin = 0.1 * (largest - smallest) or 0.2 * largest
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(largest + margin, smallest - margin)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: re.sub(r"\.0+ ", " ", words.size(size))))


def _score_axis(axes: Axes, unit: str) -> None:
    """A handful of round scores, all with as many decimals as their step needs."""
    axes.margins(y=0.12)
    ticks = MaxNLocator(5, steps=(1, 2, 5, 10))
    first, second, *_ = ticks.tick_values(*axes.get_ylim())
    decimals = max(0, -math.floor(math.log10(second - first) + 1e-9))
    axes.yaxis.set_major_locator(ticks)
    written = FuncFormatter(lambda score, _: f"{words.number(score, decimals)} {unit}".rstrip())
    axes.yaxis.set_major_formatter(written)


def inline(svg: str, prefix: str) -> str:
    """The drawing as an element of a page: no prolog, no fixed size, ids of its own, the page's colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head).replace("<svg", '<svg aria-hidden="true"')
    svg = re.sub(r'(\bid="|href="#|url\(#)', lambda match: match[1] + prefix + "-", f"{head}>{rest}")
    for colour, variable in NAMES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
