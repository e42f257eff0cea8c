"""The enhancement runs that `enhance.py` has recorded, as Markdown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from full.tables import markdown
from sottovoce.terminal import TITLES

SIDES = ("noisy", "uncompressed", "compressed")
Told = Mapping[str, Any]


class Enhanced:
    """The sections of RESULTS.md, and a run in short."""

    def __init__(self, folder: Path) -> None:
        """Those in a folder where other benchmarks keep theirs too."""
        stored = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        self.runs: Mapping[str, Told] = {result["name"]: result for result in stored if "comparison" in result}

    def page(self) -> str:
        """A section for each run."""
        return "\n\n".join(_section(result) for result in self.runs.values())

    def short(self, name: str) -> str:
        """A run as the README shows it."""
        result = self.runs[name]
        rows = []
        for metric, row in result["comparison"]["metrics"].items():
            change = f"{row['difference']:+.3f} ({row['low']:+.3f} .. {row['high']:+.3f})"
            rows.append([TITLES[metric], *_means(row), change])
        rows.append(["bytes", "", f"{_dense(result):,}", f"**{result['bytes']:,}**",
                     f"**{_dense(result) / result['bytes']:.1f} times smaller**"])
        return markdown(("", *SIDES, "compressed - uncompressed, 95 %"), rows)


def _section(result: Told) -> str:
    head = (f"## {result['name']}\n\n"
            f"{result['parameters']:,} parameters, {_dense(result):,} bytes as 32-bit floats -> **{result['bytes']:,} "
            f"bytes on disk, {_dense(result) / result['bytes']:.1f} times smaller** (paper-style, positions not "
            f"counted: {result['paper_bytes']:,} bytes); {result['nonzeros']:,} nonzero weights; "
            f"{result['steps']:,} training steps, {result['seconds']:.0f} s.")
    groups = {"all": result["comparison"]["metrics"], **result["comparison"]["groups"]}
    rows = [[f"{metric}, {group}", *_means(row), f"{row['difference']:+.3f}",
             f"{row['low']:+.3f} .. {row['high']:+.3f}"]
            for group, metrics in groups.items() for metric, row in metrics.items()]
    return f"{head}\n\n{markdown(('', *SIDES, 'difference', '95 % interval'), rows)}"


def _means(row: Told) -> list[str]:
    return [f"{row[side]:.2f}" for side in SIDES]


def _dense(result: Told) -> int:
    """Bytes of the weights as 32-bit floats."""
    return 4 * int(result["parameters"])
