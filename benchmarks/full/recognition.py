"""The results of work 4 as Markdown: the Conformer, pruned by each method to each size, and at low bits."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from full.results import EVERYTHING
from full.tables import MISSING, Result, Results, interval, markdown
from sottovoce.terminal import TITLES

TEACHER = "conformer-teacher"
METRICS = ("per", "wer")
SHARES = (20, 30, 40, 50)
METHODS = {
    "l0": "L0, size", "flops": "L0, multiply-adds", "omp": "magnitude, one shot", "imp": "magnitude, in rounds",
    "parp": "PARP", "svd": "SVD",
}
GATED = ("l0", "flops")              # the method of the work; the others are what it is held against
UNCOMPRESSED = {TEACHER: "dense", "conformer-dense": "dense, trained on",
                "conformer-dense-long": "dense, trained on, 4 times as long"}
REMEDIES = {                         # of half the parameters: what was tried to lose fewer words
    "conformer-l0-50-taught": "L0, size, taught after the cut",
    "conformer-l0-50-long": "L0, size, 4 times as long",
    "conformer-l0-50-cycle": "L0, size, rates fall once, 4 times as long",
    "conformer-l0-50-longer": "L0, size, rates fall once, 8 times as long",
    "conformer-l0-fast": "L0, multiply-adds, rates fall once, 8 times as long",
}
EQUALLY_LONG = ("conformer-l0-50-long", "conformer-l0-50-cycle")
AS_LONG = {"conformer-svd-50-long": "SVD, 4 times as long"}    # the best baseline, to hold these two against
ABLATIONS = {
    "conformer-l0-20": "L0, size, 20 %", "conformer-l0-20-no-hidden": "20 %, no hidden masks",
    "conformer-l0-20-heads": "20 %, heads only", "conformer-l0-20-no-kd": "20 %, no distillation",
    "conformer-l0-50": "L0, size, 50 %", "conformer-l0-50-no-hidden": "50 %, no hidden masks",
    "conformer-l0-50-no-kd": "50 %, no distillation",
}
LOW_BITS = {f"conformer-{bits}bit": f"L0, size, 50 %, {bits} bits" for bits in (8, 4, 3)}


class Recognition:
    """The tables, from the stored results, the measured times and the yardstick."""

    def __init__(self, results: Results, speed: Path, yardstick: Path) -> None:
        self.results = results
        self.targets: Mapping[str, float] = results.targets["conformer"]
        self.speed: Mapping[str, Any] = _stored(speed).get("models", {})
        self.yardstick = _stored(yardstick)

    def page(self) -> str:
        """Everything about work 4."""
        return "\n\n".join(["## Conformer", self.rows(), self.ablations(), self.verdicts()])

    def rows(self) -> str:
        """Size, cost, time and errors of every method at every size, beside what was published."""
        head = ("", "parameters", "of the dense", "bytes on disk", "multiply-adds a second, G", "time, fp32",
                "time, int8", *(TITLES[metric] for metric in METRICS), "WER, to dense", "steps, teacher's included",
                "published WER, clean, other", "published parameters, M")
        rows = [self._row(name, title) for name, title in names().items()]
        if self.yardstick:
            scores = self.yardstick["scores"][EVERYTHING]
            rows.insert(0, ["pocketsphinx itself", *[""] * 7, interval(scores["wer"])])
        return markdown(head, rows)

    def _row(self, name: str, title: str) -> list[str]:
        result, printed = self.results.get(name), self.results.published.get(name, {})
        published = [", ".join(f"{rate:.2f}" for rate in printed.get("wer", ())), str(printed.get("millions", ""))]
        if result is None:
            return [title, MISSING, *[""] * 9, *published]
        scores, times = result["scores"][EVERYTHING], self.speed.get(name, {})
        return [
            title, f"{_parameters(result):,}", f"{_parameters(result) / self._dense(result):.0%}",
            f"{result['bytes']:,}", f"{1e-9 * result['multiply_adds']['nonzero']:.3f}",
            *(f"{times[kind]['ratio']:.2f}" if kind in times else "" for kind in ("fp32", "int8")),
            *(interval(scores[metric]) if metric in scores else "" for metric in METRICS), _change(result),
            f"{result['steps_in_all']:,}", *published,
        ]

    def _dense(self, result: Result) -> int:
        return _parameters(self.results.get(TEACHER) or result)

    def ablations(self) -> str:
        """Each part of work 4 left out in turn."""
        head = ("left out", "of the dense parameters", *(TITLES[metric] for metric in METRICS), "WER, to dense",
                "published WER, clean, other")
        rows = []
        for name, title in ABLATIONS.items():
            result = self.results.get(name)
            printed = ", ".join(f"{rate:.2f}" for rate in self.results.published[name]["wer"])
            if result is None:
                rows.append([title, MISSING, "", "", "", printed])
                continue
            scores = result["scores"][EVERYTHING]
            rows.append([title, f"{_parameters(result) / self._dense(result):.0%}",
                         *(interval(scores[metric]) for metric in METRICS), _change(result), printed])
        return markdown(head, rows)

    # ---- the targets --------------------------------------------------------------------------------------------

    def verdicts(self) -> str:
        """The targets, and whether they are met."""
        return "\n".join(f"- {verdict}" for verdict in (self._sane(), self._half(), self._best(), self._low_bits()))

    def _sane(self) -> str:
        most, result = self.targets["most_per"], self.results.get(TEACHER)
        target = f"Target: at most {most:g} % phone errors of the dense model on unseen speakers"
        if result is None:
            return f"{target}: {MISSING}"
        found = result["scores"][EVERYTHING]["per"]["mean"]
        return f"{target}: {_word(found <= most)}; {found:.1f} %"

    def _half(self) -> str:
        removed, least, most = (self.targets[name] for name in ("removed", "least_time_saved", "most_wer_rise"))
        target = f"Target: {removed:g} % of the parameters and {least:.0%} of the time less, word errors +{most:g}"
        found = []
        for name in (*(f"conformer-{method}-{removed:g}" for method in GATED), *REMEDIES):
            result, times = self.results.get(name), self.speed.get(name)
            if result and times:
                saved, rise = 1 - times["fp32"]["ratio"], _rise(result)
                fewer = 1 - _parameters(result) / self._dense(result)
                found.append((saved >= least and rise <= most and fewer >= removed / 100 - 0.01,
                              f"{names()[name]}: {fewer:.1%} fewer, {saved:.0%} faster, {rise:+.2f}"))
        return _judged(target, found)

    def _best(self) -> str:
        removed = self.targets["removed"]
        target = f"Target: L0 makes fewer word errors than every baseline at -{removed:g} %"
        alike = ([f"conformer-{method}-{removed:g}" for method in METHODS], [*EQUALLY_LONG, *AS_LONG])
        return _judged(target, [self._against(runs) for runs in alike if all(map(self.results.get, runs))])

    def _against(self, runs: Iterable[str]) -> tuple[bool, str]:
        """Whether L0 is the best of runs of as many steps, and the word errors of each to the dense model."""
        rises = {name: _rise(self.results.stored[name]) for name in runs}
        gated = {name for name in rises if any(f"-{method}-" in name for method in GATED)}
        good = min(rises[name] for name in gated) < min(rise for name, rise in rises.items() if name not in gated)
        return good, ", ".join(f"{names()[name].partition(', ')[2]} {rise:+.2f}" for name, rise in rises.items())

    def _low_bits(self) -> str:
        least, most = self.targets["least_times"], self.targets["most_wer_rise_with_low_bits"]
        target = f"Target: {least:g} times smaller on disk than dense float32, word errors +{most:g} at most"
        found = []
        for name, title in LOW_BITS.items():
            if result := self.results.get(name):
                times, rise = 4 * self._dense(result) / result["bytes"], _rise(result)
                found.append((times >= least and rise <= most, f"{title}: {times:.1f} times, {rise:+.2f}"))
        return _judged(target, found)


def names() -> dict[str, str]:
    """The runs in the order of the table, and what they are called there."""
    return dict(_named())


def _named() -> Iterator[tuple[str, str]]:
    yield from UNCOMPRESSED.items()
    for share in SHARES:
        for method, title in METHODS.items():
            yield f"conformer-{method}-{share}", f"-{share} %, {title}"
    for name, title in (REMEDIES | AS_LONG).items():
        yield name, f"-50 %, {title}"
    yield from LOW_BITS.items()


def _parameters(result: Result) -> int:
    """Those that are left."""
    return int(result["rows"][-1]["parameters"])


def _rise(result: Result) -> float:
    """Of the word errors, to the dense model; not a number where that was not measured, and then no target is met."""
    found = result["scores"][EVERYTHING].get("wer", {}).get("against", {}).get(TEACHER, {}).get("mean")
    return math.nan if found is None else float(found)


def _change(result: Result) -> str:
    found = result["scores"][EVERYTHING].get("wer", {}).get("against", {}).get(TEACHER)
    return interval(found, signed=True) if found else ""


def _judged(target: str, found: list[tuple[bool, str]]) -> str:
    if not found:
        return f"{target}: {MISSING}"
    return "; ".join([f"{target}: {_word(any(good for good, _ in found))}", *(text for _, text in found)])


def _word(good: bool) -> str:
    return "**met**" if good else "**not met**"


def _stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found
