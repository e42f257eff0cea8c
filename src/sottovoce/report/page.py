"""A story as one HTML file that needs nothing else: styles, drawings, pictures and sound are inside."""

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from sottovoce.report import plots, quality, sound, words
from sottovoce.report.story import Example, Story, TensorRow

SHOWN = 12                               # tensors in sight; the rest is folded away
PLOTTED = ("pesq_wb", "stoi", "si_sdr")  # of the ledger's metrics, those drawn against the size

View = dict[str, Any]


def render(story: Story) -> str:
    """The page; equal stories give equal pages. What the story lacks is left out."""
    values = {
        "story": story, "css": _file("page.css"), "script": _file("page.js"), "range_db": sound.RANGE_DB,
        **_quality(story), **_stages(story), **_layers(story),
        "examples": [_example(example) for example in story.examples],
        "untouched": _untouched(story.tensors),
    }
    values["sections"] = [(anchor, label) for anchor, label, needed in (
        ("quality", "Before and after", values["quality"]), ("stages", "Stages", values["plots"]),
        ("layers", "Tensors", values["layers"]), ("listen", "Listen", story.examples),
        ("untouched", "Not compressed", values["untouched"]), ("recipe", "Recipe", story.recipe),
        ("ledger", "Ledger", values["rows"]), ("environment", "Environment", story.environment)) if needed]
    html = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html.filters.update(words.FILTERS)
    return html.from_string(_file("page.html.j2")).render(values)


def _file(name: str) -> Markup:
    return Markup(resources.files("sottovoce.report").joinpath(name).read_text("utf-8"))


def _quality(story: Story) -> View:
    comparison = story.comparison or {}
    return {
        "quality": quality.lines(comparison.get("metrics", {})),
        "quality_groups": [(name, quality.lines(metrics)) for name, metrics in comparison.get("groups", {}).items()],
        "quality_caption": "Means over the test list. Higher is better everywhere; difference = compressed minus uncompressed.",
    }


def _stages(story: Story) -> View:
    rows = [_row(index, row) for index, row in enumerate(story.rows)]
    present = {name for row in story.rows for name in row.get("metrics", {})}
    names = [name for name in words.METRICS if name in present] + sorted(present - words.METRICS.keys())
    for row, entry in zip(rows, story.rows, strict=True):
        row["metrics"] = [(words.metric(name), entry.get("metrics", {}).get(name)) for name in names]
    return {"rows": rows, "row_metrics": [words.metric(name) for name in names], "plots": _plots(story.rows)}


def _row(index: int, row: Mapping[str, Any]) -> View:
    settings = ", ".join(f"{key} {value}" for key, value in row.get("settings", {}).items())
    parameters, nonzeros = row.get("parameters"), row.get("nonzeros")
    sparsity = 1 - nonzeros / parameters if parameters and nonzeros is not None else None
    return {**{key: row.get(key) for key in ("stage", "kind", "bytes", "paper_bytes", "steps", "seconds", "data_wait")},
            "index": index, "settings": settings, "sparsity": sparsity}


def _plots(rows: Sequence[Mapping[str, Any]]) -> list[View]:
    """A drawing per metric that at least two stages have; one point is no line."""
    drawings = []
    for name in PLOTTED:
        points = [(row["bytes"], score) for row in rows if math.isfinite(score := row["metrics"].get(name, math.nan))]
        if len(points) > 1:
            metric = words.metric(name)
            (first_size, first), (last_size, last) = points[0], points[-1]
            drawings.append({
                "metric": metric, "svg": Markup(plots.size_against_quality(name, *zip(*points, strict=True))),
                "alt": f"{metric.label} over file size: from {words.number(first, metric.decimals)} at {words.size(first_size)}"
                       f" to {words.number(last, metric.decimals)} at {words.size(last_size)} in {len(points) - 1} stages",
            })
    return drawings


def _layers(story: Story) -> View:
    """The largest tensors, the folded rest, and what is in the file beside tensors, so that the bytes add up."""
    if not story.tensors:
        return {"layers": [], "more_layers": [], "layers_caption": ""}
    largest = max(4 * tensor.elements for tensor in story.tensors)
    ranked = sorted(story.tensors, key=lambda tensor: -tensor.elements)
    seen = {tensor.name for tensor in ranked[:SHOWN]}
    views = {tensor.name: _layer(tensor, largest) for tensor in story.tensors}
    beside = story.file_bytes - sum(tensor.bytes for tensor in story.tensors)
    return {
        "layers": [view for name, view in views.items() if name in seen],
        "more_layers": [view for name, view in views.items() if name not in seen],
        "layers_caption": f"Grey is float32, colour is the file. Beside the tensors, graph, header, recipe and ledger"
                          f" take {words.size(beside)} ({words.percent(beside / story.file_bytes)} of the file).",
    }


def _layer(tensor: TensorRow, largest: int) -> View:
    before = 4 * tensor.elements
    return {
        "name": tensor.name, "shape": " \N{MULTIPLICATION SIGN} ".join(map(str, tensor.shape)) or "scalar", "form": tensor.form,
        "before": before, "bytes": tensor.bytes, "bits": tensor.bits_per_weight,
        "sparsity": 1 - tensor.nonzeros / tensor.elements if tensor.elements else None,
        "before_width": f"{100 * before / largest:.3f}", "after_width": f"{100 * tensor.bytes / largest:.3f}",
    }


def _untouched(tensors: Sequence[TensorRow]) -> list[View]:
    """Tensors that carry a note, one entry per reason, largest first."""
    noted = sorted((tensor for tensor in tensors if tensor.note), key=lambda tensor: tensor.note)
    groups = [(note, list(group)) for note, group in groupby(noted, key=lambda tensor: tensor.note)]
    views = [{"reason": note, "names": [tensor.name for tensor in group], "bytes": sum(tensor.bytes for tensor in group)}
             for note, group in groups]
    return sorted(views, key=lambda view: -view["bytes"])


def _example(example: Example) -> View:
    versions = {"noisy": example.noisy, "uncompressed": example.uncompressed, "compressed": example.compressed}
    if example.clean is not None:
        versions["clean"] = example.clean
    waves = list(versions.values())
    gain = sound.common_gain(waves)
    pictures = sound.spectrograms(waves, example.sample_rate)
    return {
        "name": example.name, "caption": example.caption,
        "top": f"{example.sample_rate / 2000:g}", "middle": f"{example.sample_rate / 4000:g}",
        "seconds": f"{len(example.noisy) / example.sample_rate:.1f}",
        "versions": [{"kind": kind, "label": kind.capitalize(), "picture": Markup(picture),
                      "sound": Markup(sound.flac(wave, example.sample_rate, gain))}
                     for (kind, wave), picture in zip(versions.items(), pictures, strict=True)],
    }
