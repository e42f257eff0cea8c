"""RESULTS.md, and the tables within documents, made from the stored results."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from full import compiled
from full.acoustic import AcousticModels
from full.compiled import Compiled, by_cpu
from full.enhanced import Enhanced
from full.extraction import Extraction
from full.presets import Presets
from full.recognition import Recognition
from full.tables import Results, markdown
from sottovoce.files import write_text

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results"
DOCUMENTS = (HERE.parent / "README.md", *sorted((HERE.parent / "docs").glob("*.md")))
MARKED = re.compile(r"<!-- table of (?P<name>[^>]+) -->\n.*?<!-- end of the table -->", re.DOTALL)
OVERHEAD = RESULTS / "overhead.json"
SENSITIVITY = RESULTS / "sensitivity.json"
HEAD = "# Results\n\nMade from `benchmarks/results/`; no number is typed by hand."


def write() -> None:
    """Write RESULTS.md, and each document whose tables have changed."""
    write_text(HERE / "RESULTS.md", results_page())
    known = tables()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (now := filled(text, known)) != text:
            write_text(path, now)


def results_page() -> str:
    """All results there are."""
    parts = [HEAD, Enhanced(RESULTS).page(), _full().page(), _extraction().page(), _recognition().page(),
             _acoustic().page()]
    parts += [compiled.page(_compiled(), RESULTS / "fuzz.json"), _presets().page()]
    if OVERHEAD.is_file():
        parts.append(f"## What a step of training costs\n\n{overhead(json.loads(OVERHEAD.read_text()))}")
    if SENSITIVITY.is_file():
        parts.append(f"## The search for sensitivity\n\n{sensitivity(json.loads(SENSITIVITY.read_text()))}")
    return "\n\n".join(parts) + "\n"


def tables() -> dict[str, str]:
    """The tables that documents may show, by the names in their marks."""
    full = _full()
    return {
        "the quick start": Enhanced(RESULTS).short("quickstart"),
        "the published models": full.beside("c1", "forty", "sixty", "c2", "ipkd"),
        "work 1": full.beside("ipkd"),
        "the ablations": full.ablations(),
        "work 2": full.beside("c1", "c2"),
        "the small models": full.small(),
        "work 3": _extraction().rows(),
        "the sizes of work 3": _extraction().sizes(),
        "work 4": _recognition().rows(),
        "the ablations of work 4": _recognition().ablations(),
        "the engine in short": by_cpu(_compiled(), Compiled.short),
        "the engine": by_cpu(_compiled(), Compiled.times),
        "the profile of the engine": by_cpu(_compiled(), Compiled.profile),
        "the presets": _presets().shown(),
        "work 5": _acoustic().rows(),
        "the adaptation of work 5": _acoustic().adaptation(),
    }


def overhead(result: Mapping[str, Any]) -> str:
    """A row for every model, precision and way to train."""
    rows = [
        [f"{model}, {precision}", variant, f"{row['seconds']:.3f}", f"{row['teacher_seconds']:.3f}",
         f"{row['ratio_without_teacher']:.3f}"]
        for model, precisions in result["models"].items()
        for precision, variants in precisions.items()
        for variant, row in variants.items()
    ]
    head = ("", "trained with", "CPU seconds a step", "the teacher's part", "the rest, to a plain step")
    return markdown(head, rows)


def sensitivity(result: Mapping[str, Any]) -> str:
    """A row for every case: the published search and ours."""
    rows = []
    for case in result["cases"]:
        published, ours, larger = case["published"], case["ours"], case["larger_and_tolerated"]
        differing = [f"{name}: {one['published']:.2f}, ours {one['ours']:.2f}, loss {one['rise']:+.2g}"
                     for name, one in larger.items()]
        rows.append([
            case["groups"], f"{case['tolerance']:g}", str(published["evaluations"]), str(ours["evaluations"]),
            f"{published['seconds']:.1f}", f"{ours['seconds']:.1f}", f"{published['seconds'] / ours['seconds']:.1f}",
            "equal" if case["equal"] else "; ".join(differing),
        ])
    head = ("pruned", "tolerance", "evaluations, published", "ours", "CPU seconds, published", "ours", "times faster",
            "ratios found")
    return markdown(head, rows)


def filled(text: str, known: Mapping[str, str]) -> str:
    """The text of a document with what lies between its marks replaced. Raises KeyError for a table of that name."""
    return MARKED.sub(lambda found: f"<!-- table of {found['name']} -->\n{known[found['name']]}\n"
                                    "<!-- end of the table -->", text)


def _full() -> Results:
    return Results(RESULTS / "full", Path(__file__).with_name("published.json"))


def _compiled() -> list[Compiled]:
    return [Compiled(path) for path in sorted((RESULTS / "engine").glob("*.json"))]


def _presets() -> Presets:
    return Presets(RESULTS / "presets.json")


def _extraction() -> Extraction:
    return Extraction(_full(), RESULTS / "tinywase_sizes.json")


def _acoustic() -> AcousticModels:
    return AcousticModels(_full())


def _recognition() -> Recognition:
    return Recognition(_full(), RESULTS / "recognizer_speed.json", RESULTS / "pocketsphinx.json")
