"""A story as one HTML file that needs nothing else: styles, drawings, pictures and sound are inside."""

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from sottovoce import scales
from sottovoce.report import heat, plots, quality, sound, words
from sottovoce.report.story import Example, Story, TensorRow

SHOWN, WORTH = 24, 0.01  # at most so many tensors are in sight, each at least this share of the elements
LEADING = ("pesq_wb", "stoi", "si_sdr", "sdr", "wer", "per")  # the metrics of the headline and of the drawings

SECTIONS = (  # anchor, name in the menu, the part without which it is left out
    ("quality", "Before and after", "quality"),
    ("stages", "Stages", "plots"),
    ("sensitivity", "Sensitivity", "searches"),
    ("layers", "Tensors", "layers"),
    ("listen", "Listen", "examples"),
    ("untouched", "Not compressed", "untouched"),
    ("recipe", "Recipe", "recipe"),
    ("ledger", "Ledger", "rows"),
    ("environment", "Environment", "environment"),
)

View = dict[str, Any]


def render(story: Story) -> str:
    """The page; equal stories give equal pages. What the story lacks is left out."""
    values = {
        "story": story,
        "css": _file("page.css"),
        "script": _file("page.js"),
        "range_db": sound.RANGE_DB,
        **_quality(story),
        **_stages(story),
        "searches": _searches(story.rows),
        **_layers(story),
        "examples": [_example(example, story.given) for example in story.examples],
        "untouched": _untouched(story.tensors),
        "recipe": story.recipe,
        "environment": story.environment,
    }
    values["sections"] = [(anchor, label) for anchor, label, part in SECTIONS if values[part]]
    html = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html.filters.update(words.FILTERS, counted=quality.counted)
    return html.from_string(_file("page.html.j2")).render(values)


def _file(name: str) -> Markup:
    return Markup(resources.files("sottovoce.report").joinpath(name).read_text("utf-8"))


def _quality(story: Story) -> View:
    comparison = story.comparison or {}
    lines = quality.lines(comparison.get("metrics", {}))
    leading = [scales.metric(name) for name in LEADING]
    return {
        "quality": lines,
        "tiles": [line for line in lines if line.metric in leading] or lines[:3],
        "tile_metrics": leading,
        "quality_groups": [
            (name, quality.lines(metrics)) for name, metrics in comparison.get("groups", {}).items()
        ],
    }


def _stages(story: Story) -> View:
    rows = [_row(index, row) for index, row in enumerate(story.rows)]
    present = {name for row in story.rows for name in row.get("metrics", {})}
    names = [name for name in scales.METRICS if name in present] + sorted(present - scales.METRICS.keys())
    for row, entry in zip(rows, story.rows, strict=True):
        row["metrics"] = [(scales.metric(name), entry.get("metrics", {}).get(name)) for name in names]
    return {
        "rows": rows,
        "row_metrics": [scales.metric(name) for name in names],
        "row_costs": any(row["multiply_adds"] is not None for row in rows),      # rows of old ledgers have none
        "plots": _plots(story.rows),
    }


def _row(index: int, row: Mapping[str, Any]) -> View:
    noted = {**row.get("settings", {}), **row.get("details", {})}
    settings = ", ".join(
        f"{key} {value}" for key, value in noted.items() if isinstance(value, str | int | float)
    )
    parameters, nonzeros = row.get("parameters"), row.get("nonzeros")
    sparsity = 1 - nonzeros / parameters if parameters and nonzeros is not None else None
    trained = {key: row.get(key) if row.get("steps") else None for key in ("steps", "data_wait")}
    return {
        **{key: row.get(key) for key in ("stage", "bytes", "paper_bytes", "seconds", "multiply_adds")},
        **trained,
        "index": index,
        "settings": settings,
        "sparsity": sparsity,
    }


def _plots(rows: Sequence[Mapping[str, Any]]) -> list[View]:
    """A drawing per metric that at least two stages have; one point is no line."""
    drawings = []
    for name in LEADING:
        scores = [row["metrics"].get(name) for row in rows]
        scored = [at for at, score in enumerate(scores) if score is not None and math.isfinite(score)]
        if len(scored) > 1:
            points = [plots.Point(at, rows[at]["bytes"], scores[at]) for at in scored]
            drawings.append(
                {
                    "metric": scales.metric(name),
                    "svg": Markup(plots.size_against_quality(name, points)),
                    "alt": _told(scales.metric(name), points),
                }
            )
    return drawings


def _searches(rows: Sequence[Mapping[str, Any]]) -> list[View]:
    """What the stages that measured how much each tensor can lose found."""
    return [
        {
            "stage": row["stage"],
            "tolerance": row.get("settings", {}).get("tolerance"),
            "svg": Markup(heat.heat_map(found, row.get("settings", {}).get("tolerance"))),
            "alt": heat.told(found),
            **{key: found.get(key) for key in ("evaluations", "utterances", "whole")},
        }
        for row in rows
        if (found := row.get("details", {}).get("sensitivity"))
    ]


def _told(metric: scales.Metric, points: Sequence[plots.Point]) -> str:
    """The drawing in words."""
    ends = (points[0], points[-1])
    first, last = (f"{words.number(end.score, metric.decimals)} at {words.size(end.size)}" for end in ends)
    return f"{metric.label} over file size, {len(points)} points: from {first} to {last}"


def _layers(story: Story) -> View:
    """The large tensors, the small ones, and what the file holds beside them, so that the bytes add up."""
    if not story.tensors:
        return {"layers": [], "more_layers": []}
    largest = max(map(_before, story.tensors))
    ranked = sorted(story.tensors, key=lambda tensor: -tensor.elements)
    enough = WORTH * sum(tensor.elements for tensor in story.tensors)
    seen = {tensor.name for tensor in ranked[:SHOWN] if tensor.elements >= enough}
    views = {tensor.name: _layer(tensor, largest) for tensor in story.tensors}
    beside = story.file_bytes - sum(tensor.bytes for tensor in story.tensors)
    return {
        "layers": [view for name, view in views.items() if name in seen],
        "more_layers": [view for name, view in views.items() if name not in seen],
        "beside": beside,
    }


def _before(tensor: TensorRow) -> int:
    """Bytes of the tensor as float32, before anything was removed."""
    return 4 * math.prod(tensor.full_shape or tensor.shape)


def _shape(sizes: Sequence[int]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes)) or "scalar"


def _layer(tensor: TensorRow, largest: int) -> View:
    before = _before(tensor)
    return {
        "name": tensor.name,
        "shape": _shape(tensor.shape) + (f" of {_shape(tensor.full_shape)}" if tensor.full_shape else ""),
        "form": tensor.form,
        "before": before,
        "bytes": tensor.bytes,
        "bits": tensor.bits_per_weight,
        "sparsity": 1 - tensor.nonzeros / tensor.elements if tensor.elements else None,
        "before_width": f"{100 * before / largest:.3f}",
        "after_width": f"{100 * tensor.bytes / largest:.3f}",
    }


def _untouched(tensors: Sequence[TensorRow]) -> list[View]:
    """Tensors that carry a note, one entry per reason, largest first."""
    noted = sorted((tensor for tensor in tensors if tensor.note), key=lambda tensor: tensor.note)
    groups = [(note, list(group)) for note, group in groupby(noted, key=lambda tensor: tensor.note)]
    views = [
        {
            "reason": note,
            "names": [tensor.name for tensor in group],
            "bytes": sum(tensor.bytes for tensor in group),
        }
        for note, group in groups
    ]
    return sorted(views, key=lambda view: -view["bytes"])


def _example(example: Example, given: str) -> View:
    versions = {
        "noisy": example.noisy,
        "uncompressed": example.uncompressed,
        "compressed": example.compressed,
    }
    if example.clean is not None:
        versions["clean"] = example.clean
    if example.enrolment is not None:
        versions["enrolment"] = example.enrolment
    waves = list(versions.values())
    gain = sound.common_gain(waves)
    pictures = sound.spectrograms(waves, example.sample_rate)
    return {
        "name": example.name,
        "caption": example.caption,
        "top": f"{example.sample_rate / 2000:g}",
        "middle": f"{example.sample_rate / 4000:g}",
        "versions": [
            {
                "kind": kind,
                "label": (given if kind == "noisy" else kind).capitalize(),
                "seconds": f"{len(wave) / example.sample_rate:.1f}",
                "picture": Markup(picture),
                "sound": Markup(sound.flac(wave, example.sample_rate, gain)),
            }
            for (kind, wave), picture in zip(versions.items(), pictures, strict=True)
        ],
    }
