"""What it is worth how zeros lie: the table and the picture, from what `presets.py` stored."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from full.tables import MISSING, MODELS, interval, markdown
from sottovoce.report.plots import GRID, INK, NAMES, PAPER, QUIET, STYLE
from sottovoce.terminal import TITLES

METRICS = ("pesq_wb", "stoi", "si_sdr")
DENSE = "uncompressed"
TITLE = {"weights": "anywhere", "tiles": "equally full tiles", "blocks": "blocks of 16 rows"}
# A stand-in for each colour of the finished drawing, as in sottovoce.report.plots; its names, in light and in dark.
GROUPS = {"weights": "#060606", "tiles": "#070707", "blocks": "#080808"}
COLOURS = {GROUPS["weights"]: ("#3867b4", "#85aef0"), GROUPS["tiles"]: ("#b3560f", "#ef9a52"),
           GROUPS["blocks"]: ("#007a65", "#3cc7a6"), INK: ("#17181c", "#eceae4"), QUIET: ("#5c6068", "#a0a4ab"),
           GRID: ("#dfddd6", "#2d3135"), PAPER: ("#ffffff", "#191c1f")}
LARGEST = 500.0                          # area of the dot of the largest compressed file, in square points

Told = Mapping[str, Any]


class Presets:
    """The table, and where documents have the picture."""

    def __init__(self, path: Path) -> None:
        result = json.loads(path.read_text()) if path.is_file() else {}
        self.models: Mapping[str, Told] = result.get("models", {})
        self.missing: list[str] = result.get("missing", [])
        self.cpu: str = result.get("cpu", "")

    def page(self) -> str:
        """A section of RESULTS.md."""
        return f"## How zeros lie\n\n{self.table()}"

    def table(self) -> str:
        """A row for each model and way that its zeros lie."""
        if not self.models:
            return f"{MISSING.capitalize()}."
        head = (f"zeros; {self.cpu}", "share", "bytes on disk", "bytes of weights a frame",
                "microseconds a frame, int8", "times as fast as onnxruntime's int8, dense (10 .. 90 %)",
                *(f"{TITLES[metric]}, to uncompressed" for metric in METRICS))
        rows = [self._row(family, variant) for family, told in self.models.items()
                for variant in told["variants"].values()]
        return markdown(head, rows + [[MODELS[family], MISSING] for family in self.missing])

    def shown(self) -> str:
        """The table, and the picture if there is one; for documents beside it."""
        return f"{self.table()}\n\n![Time of a frame, quality and size](presets.svg)" if self.models else self.table()

    def _row(self, family: str, variant: Told) -> list[str]:
        title = TITLE.get(variant["groups"], DENSE)
        changes = (variant["scores"][metric]["against"].get(DENSE) for metric in METRICS)
        speedup = (f"{variant[key]:.1f}" for key in ("speedup", "speedup_10", "speedup_90"))
        return [f"{MODELS[family]}, {title}", f"{100 * variant['zeros']:.1f} %", f"{variant['bytes']:,}",
                f"{variant['weight_bytes']:,}", f"{variant['microseconds']:.0f}", "{} ({} .. {})".format(*speedup),
                *("" if change is None else interval(change, signed=True) for change in changes)]


def picture(result: Told) -> str:
    """Time of a frame against quality for every model, as SVG that is light or dark as its reader's page is."""
    with rc_context({**STYLE, "svg.hashsalt": "presets", "text.color": INK, "axes.labelcolor": QUIET}):
        models = result["models"]
        figure = Figure(figsize=(max(8.0, 5.0 * len(models)), 4.0), layout="constrained", facecolor=PAPER)
        for place, (family, told) in enumerate(models.items(), 1):
            axes = figure.add_subplot(1, len(models), place, facecolor=PAPER)
            _draw(axes, told["variants"])
            axes.set_title(f"{MODELS[family]}: {TITLES['pesq_wb']} lost", loc="left", color=INK, fontsize=12)
            axes.set_xlabel("microseconds a frame in 8 bits; dots are as large as the files")
        lines, names = axes.get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=len(names), frameon=False)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return _in_both_lights(drawing.getvalue())


def _draw(axes: Axes, variants: Told) -> None:
    axes.axhline(0, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    largest = max(row["bytes"] for row in variants.values() if row["groups"])
    for groups, colour in GROUPS.items():
        rows = sorted((row for row in variants.values() if row["groups"] == groups), key=lambda row: -row["rate"])
        changes = [row["scores"]["pesq_wb"]["against"][DENSE] for row in rows]
        x, y = [row["microseconds"] for row in rows], [change["mean"] for change in changes]
        ends = [[change["mean"] - change["low"] for change in changes],
                [change["high"] - change["mean"] for change in changes]]
        axes.plot(x, y, color=colour, linewidth=1, alpha=0.5, zorder=2)
        axes.errorbar(x, y, yerr=ends, fmt="none", ecolor=colour, elinewidth=1.5, zorder=3)
        axes.scatter(x, y, s=[LARGEST * row["bytes"] / largest for row in rows], color=colour, edgecolors=PAPER,
                     label=TITLE[groups], zorder=4)
        for row, left, top in zip(rows, x, y, strict=True):
            axes.annotate(f"{100 * row['rate']:.0f} %", (left, top), xytext=(10, 8), textcoords="offset points",
                          color=QUIET, fontsize=9, zorder=5)
    axes.margins(0.15)


def _in_both_lights(svg: str) -> str:
    """The drawing with its colours by name, and what the names are in light and in dark."""
    names = {colour: NAMES.get(colour, f"--{groups}") for groups, colour in GROUPS.items()} | {
        colour: NAMES[colour] for colour in (INK, QUIET, GRID, PAPER)}
    light, dark = ("; ".join(f"{names[colour]}: {pair[which]}" for colour, pair in COLOURS.items()) for which in (0, 1))
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name})")
    style = (f"<style>svg {{ {light}; font-family: system-ui, sans-serif }} "
             f"@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>")
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    return f"{head}>{style}{rest}"
