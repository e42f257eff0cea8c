"""What pruning each tensor would cost, tensor by ratio, as inline SVG in the page's colours."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from sottovoce.report import words

CELL, ROW, LETTER = 22, 20, 6.7          # width and height of a cell, width of a letter, in units of the drawing
STEP = 0.05                              # of the ratio, a cell
DECADES = 3                              # of the rise, from the palest to the strongest colour


def heat_map(found: Mapping[str, Any], tolerance: float | None) -> str:
    """The drawing of what a search noted: a cell for every evaluation, a ring at each chosen ratio.

    `found` has `evaluated`, (tensor, ratio, rise of the loss) each, and `ratios`, tensor -> chosen ratio.
    """
    names = list(found["ratios"])
    top = max((rise for _, _, rise in found["evaluated"] if math.isfinite(rise)), default=0.0)
    parts = [*_axis(len(names))]
    for name, ratio, rise in found["evaluated"]:
        parts.append(_cell(ratio, names.index(name), rise, top, tolerance))
    for row, (name, ratio) in enumerate(found["ratios"].items()):
        middle = (row + 0.5) * ROW
        parts.append(f'<text x="-8" y="{middle + 4:g}" text-anchor="end">{escape(name)}</text>')
        title = f"<title>{escape(name)}: {words.percent(ratio)} pruned</title>"
        parts.append(f'<circle cx="{_x(ratio):g}" cy="{middle:g}" r="6">{title}</circle>')
    left = round(LETTER * max(map(len, names), default=0)) + 16
    box = f"{-left} 0 {left + 22 * CELL} {(len(names) + 1) * ROW}"
    return f'<svg viewBox="{box}" aria-hidden="true" class="heat">{"".join(parts)}</svg>'


def told(found: Mapping[str, Any]) -> str:
    """The drawing in words."""
    ratios = list(found["ratios"].values())
    ends = f"{words.percent(min(ratios), 0)} to {words.percent(max(ratios), 0)}" if ratios else words.DASH
    return f"Rise of the loss over tensor and ratio, {len(ratios)} tensors; chosen: {ends}"


def _x(ratio: float) -> float:
    return round(CELL / 2 + ratio / STEP * CELL, 2)


def _axis(rows: int) -> Sequence[str]:
    lines = []
    for percent in range(0, 101, 20):
        x, base = _x(percent / 100), rows * ROW
        lines.append(f'<path d="M{x:g} 0V{base}"/>')
        lines.append(f'<text x="{x:g}" y="{base + 15}" text-anchor="middle">{percent} %</text>')
    return lines


def _cell(ratio: float, row: int, rise: float, top: float, tolerance: float | None) -> str:
    """Stronger for a higher rise, on a logarithmic scale; another colour within the tolerance."""
    heat = 1.0 if not math.isfinite(rise) else 0.0
    if 0 < rise <= top:
        heat = max(0.0, 1 + math.log10(rise / top) / DECADES)
    kind = "within" if tolerance is not None and rise <= tolerance else "beyond"
    return (
        f'<rect class="{kind}" x="{_x(ratio) - CELL / 2 + 1:g}" y="{row * ROW + 1}" width="{CELL - 2}" '
        f'height="{ROW - 2}" fill-opacity="{0.12 + 0.88 * heat:.2f}"><title>{words.percent(ratio, 0)} pruned: '
        f"{words.signed(rise, 5)}</title></rect>"
    )
