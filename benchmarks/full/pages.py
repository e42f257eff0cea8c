"""RESULTS.md, and the tables within documents, made from the stored results."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import enhance

from full.tables import Results
from sottovoce.files import write_text

HERE = Path(__file__).parents[1]
DOCUMENTS = (HERE.parent / "README.md", *sorted((HERE.parent / "docs").glob("*.md")))
MARKED = re.compile(r"<!-- table of (?P<name>[^>]+) -->\n.*?<!-- end of the table -->", re.DOTALL)
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
    return "\n\n".join([HEAD, *map(enhance.table, enhance.results()), _full().page()]) + "\n"


def tables() -> dict[str, str]:
    """The tables that documents may show, by the names in their marks."""
    full = _full()
    quickstart = json.loads((enhance.RESULTS / "quickstart.json").read_text())
    return {
        "the quick start": enhance.short_table(quickstart),
        "the published models": full.beside("c1", "c2", "ipkd"),
        "work 1": full.beside("ipkd"),
        "the ablations": full.ablations(),
        "work 2": full.beside("c1", "c2"),
        "the small models": full.small(),
    }


def filled(text: str, known: Mapping[str, str]) -> str:
    """The text of a document with what lies between its marks replaced. Raises KeyError for a table of that name."""
    return MARKED.sub(lambda found: f"<!-- table of {found['name']} -->\n{known[found['name']]}\n"
                                    "<!-- end of the table -->", text)


def _full() -> Results:
    return Results(enhance.RESULTS / "full", Path(__file__).with_name("published.json"))
