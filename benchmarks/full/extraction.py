"""The results of work 3 as Markdown: WASE and TinyWASE at every width, one stack or three, taught or not."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from full.results import EVERYTHING
from full.tables import MISSING, Results, interval, markdown

BITS = (8, 4, 3, 2, 1)
METRICS = {"si_sdr": "SI-SDRi dB", "sdr": "SDRi dB"}
UNCOMPRESSED = {"wase-teacher": "WASE", "wase-dense": "WASE, trained on", "wase-kd": "WASE, trained on and distilled",
                "wase-shared": "one stack, distilled"}
WAYS = {"": "QAT and KD", "-no-kd": "QAT", "-kd-rounded": "KD, then rounded", "-rounded": "rounded"}
SHARED_WAYS = {"": "QAT and KD", "-no-kd": "QAT"}
COMBINED = {"wase-tiny": "one stack, half of the weights pruned, 3 bits, QAT and KD"}


class Extraction:
    """The tables, from the stored results."""

    def __init__(self, results: Results, sizes: Path) -> None:
        self.results = results
        self.published: list[Mapping[str, Any]] = json.loads(sizes.read_text())["rows"]
        self.targets: list[Mapping[str, Any]] = results.targets["wase"]["rows"]

    def page(self) -> str:
        """Everything about work 3."""
        parts = ["## WASE", self.rows(), self.swaps(), self.verdicts(), self.sizes()]
        return "\n\n".join(parts)

    def rows(self) -> str:
        """Size and gain of every model, and its difference to the uncompressed one."""
        head = ("", "bytes on disk", "times smaller", "paper-style, times", *METRICS.values(),
                *(f"{title}, to WASE" for title in METRICS.values()), "steps, teacher's included")
        return markdown(head, (self._row(name, title) for name, title in names().items()))

    def _row(self, name: str, title: str) -> list[str]:
        result = self.results.get(name)
        if result is None:
            return [title, MISSING]
        dense = 4 * self._dense(result)
        against = [result["scores"][EVERYTHING][metric]["against"] for metric in METRICS]
        changes = [interval(of["wase-teacher"], signed=True) if "wase-teacher" in of else "" for of in against]
        return [title, f"{result['bytes']:,}", f"{dense / result['bytes']:.1f}", f"{dense / result['paper_bytes']:.1f}",
                *(interval(of["mixture"]) for of in against), *changes, f"{result['steps_in_all']:,}"]

    def _dense(self, result: Mapping[str, Any]) -> int:
        """Parameters of the uncompressed model; one that began with one stack had fewer of its own."""
        return int((self.results.get("wase-teacher") or result)["dense_parameters"])

    def swaps(self) -> str:
        """Whether another enrolment gives the other voice."""
        result = self.results.get("wase-teacher")
        if result is None:
            return f"Against the other talker: {MISSING}."
        wanted, other = (result["swaps"][side] for side in ("wanted", "other"))
        return (f"Each test mixture is there twice, with an enrolment of either talker: the estimate's SI-SDR is "
                f"{wanted:.2f} dB against the talker asked for and {other:.2f} dB against the other one.")

    def verdicts(self) -> str:
        """The targets, and whether they are met."""
        return "\n".join(f"- {self._verdict(**target)}" for target in self.targets)

    def _verdict(self, runs: list[str], times: float, drop: float) -> str:
        target = f"Target: {times:g} times smaller on disk, everything counted, within {drop:g} dB SI-SDRi"
        found = [self._judged(name, times, drop) for name in runs if self.results.get(name)]
        if not found:
            return f"{target}: {MISSING}"
        verdict = "**met**" if any(good for good, _ in found) else "**not met**"
        return "; ".join([f"{target}: {verdict}", *(text for _, text in found)])

    def _judged(self, name: str, times: float, drop: float) -> tuple[bool, str]:
        result = self.results.stored[name]
        reached = 4 * self._dense(result) / result["bytes"]
        change = result["scores"][EVERYTHING]["si_sdr"]["against"].get("wase-teacher", {}).get("mean", math.nan)
        return reached >= times and change >= -drop, f"{names()[name]}: {reached:.1f} times, {change:+.2f} dB"

    def sizes(self) -> str:
        """The paper's own count, without the path of the enrolment, of our model at the published sizes."""
        rows = [
            [f"{row['bits']} bits", *(f"{row[kind][key]:.{digits}f}" for kind in ("unshared", "shared")
                                      for key, digits in (("mebibytes", 3), ("times", 2)))]
            for row in self.published
        ]
        return markdown(("as the paper counts", "MiB, three stacks", "times", "MiB, one stack", "times"), rows)


def names() -> dict[str, str]:
    """The runs in the order of the table, and what they are called there."""
    return dict(_named())


def _named() -> Iterator[tuple[str, str]]:
    yield from UNCOMPRESSED.items()
    for prefix, stacks, ways in (("wase", "", WAYS), ("wase-shared", "one stack, ", SHARED_WAYS)):
        for bits in BITS:
            for suffix, way in ways.items():
                yield f"{prefix}-{bits}bit{suffix}", f"{stacks}{bits} bit{'s' * (bits > 1)}, {way}"
    yield from COMBINED.items()
