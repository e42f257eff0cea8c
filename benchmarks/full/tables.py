"""The results of the full-size runs as Markdown, beside the published figures and the targets."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from full.results import EVERYTHING, VERSUS
from sottovoce.terminal import TITLES

MISSING = "not measured yet"
SNRS = ("-5 dB", "0 dB", "5 dB")
METRICS = ("stoi", "pesq_nb", "pesq_wb", "si_sdr")
MODELS = {"gcrn": "GCRN", "lstm": "LSTM", "fdnn": "FDNN", "tcnn": "TCNN"}
VARIANTS = {
    "teacher": "uncompressed", "dense": "uncompressed, trained on", "c1": "C1 (work 2)", "c2": "C2 (work 2)",
    "ipkd": "IP-KD (work 1)", "small": "small, from scratch",
}
REMEDIES = {                 # what was tried where a target was missed
    "gcrn": {"forty": "fewer zeros, the dense model as teacher"},
    "lstm": {"sixty": "fewer zeros, the dense model as teacher"},
}
COMPRESSED = ("c1", "c2", "ipkd")
ABLATIONS = {
    "ipkd": "all of it", "no-distill": "no distillation", "dense-teacher": "the dense model as teacher",
    "one-shot": "one round instead of several", "global": "one threshold for all tensors",
}
Result = Mapping[str, Any]


class Results:
    """The stored results by name, and what was published."""

    def __init__(self, folder: Path, published: Path) -> None:
        self.stored = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        known = json.loads(published.read_text())
        self.published: Mapping[str, Any] = known["rows"]
        self.targets: Mapping[str, Any] = known["targets"]

    def get(self, name: str) -> Result | None:
        """The result of that run; None if there is none, or none of the teacher as it is now."""
        result = self.stored.get(name)
        for earlier, digest in (result or {}).get("after", {}).items():
            if self.stored.get(earlier, {}).get("model_sha256") != digest:
                return None
        return result

    # ---- RESULTS.md ---------------------------------------------------------------------------------------------

    def page(self) -> str:
        """Everything, a section for each model and one for the ablations."""
        sections = [f"## {title}\n\n{self._section(model)}" for model, title in MODELS.items()]
        return "\n\n".join([*sections, f"## What the parts of work 1 are worth: GCRN\n\n{self.ablations()}"])

    def _section(self, model: str) -> str:
        if not any(self.get(f"{model}-{variant}") for variant in variants(model)):
            return MISSING.capitalize() + "."
        parts = [self.sizes(model), self.quality(model), self.differences(model), self.printed(model),
                 self.verdicts(model)]
        return "\n\n".join(parts)

    def sizes(self, model: str) -> str:
        """Bytes, cost and training of every variant."""
        head = ("", "bytes on disk", "times smaller", "paper-style bytes", "times smaller", "nonzero weights",
                "multiply-adds for 4 s, G", "steps, teacher's included", "hours of audio", "hours of work")
        return markdown(head, (self._size(model, *variant) for variant in variants(model).items()))

    def _size(self, model: str, variant: str, title: str) -> list[str]:
        result = self.get(f"{model}-{variant}")
        if result is None:
            return [title, MISSING]
        # Of the uncompressed model, for the small one as well.
        dense = 4 * (self.get(f"{model}-teacher") or result)["dense_parameters"]
        return [
            title, f"{result['bytes']:,}", f"{dense / result['bytes']:.1f}", f"{result['paper_bytes']:,}",
            f"{dense / result['paper_bytes']:.1f}", f"{result['nonzeros']:,}",
            f"{4e-9 * result['multiply_adds']['nonzero']:.3f}",
            f"{result['steps_in_all']:,}", f"{result['hours_in_all']:.1f}", f"{result['seconds_in_all'] / 3600:.1f}",
        ]

    def quality(self, model: str) -> str:
        """Means with their intervals, for each signal-to-noise ratio."""
        rows = []
        for snr in SNRS:
            names = {"noisy": "noisy", **{f"{model}-{variant}": title for variant, title in variants(model).items()}}
            for name, title in names.items():
                result = self.get(name)
                cells = [MISSING] if result is None else [_mean(result["scores"][snr], metric) for metric in METRICS]
                rows.append([f"{title}, {snr}", *cells])
        return markdown(("mean (95 % interval)", *(TITLES[metric] for metric in METRICS)), rows)

    def differences(self, model: str) -> str:
        """Paired differences over the whole list: each variant to the uncompressed model, and some to each other."""
        titles = variants(model)
        pairs = [("teacher", "noisy", "noisy")]
        pairs += [(variant, f"{model}-teacher", "uncompressed") for variant in titles if variant != "teacher"]
        pairs += [(variant, f"{model}-dense", VARIANTS["dense"]) for variant in compressed(model)]
        pairs += [("small", f"{model}-{variant}", VARIANTS[variant]) for variant in VERSUS["small"]]
        rows = []
        for variant, other, title in pairs:
            cells = [self._difference(f"{model}-{variant}", other, metric) for metric in METRICS]
            rows.append([f"{titles[variant]} - {title}", *cells])
        return markdown(("difference (95 % interval)", *(TITLES[metric] for metric in METRICS)), rows)

    def _difference(self, name: str, other: str, metric: str, group: str = EVERYTHING) -> str:
        result = self.get(name)
        found = result and self.get(other) and result["scores"][group].get(metric, {}).get("against", {}).get(other)
        return interval(found, signed=True) if found else MISSING

    def printed(self, model: str) -> str:
        """The published rows: on other data, so only how one differs from another can be compared."""
        rows = []
        for name, title in (("noisy", "noisy"), *((f"{model}-{variant}", VARIANTS[variant]) for variant in VARIANTS)):
            row = self.published.get(name, {})
            if "stoi" in row:
                scores = [_both(row[metric].get(snr)) for metric in ("stoi", "pesq") for snr in SNRS]
                size = _number(row.get("mib")), _number(row.get("times"), 0)
                rows.append([title, *scores, *size, _number(row.get("giga_multiply_adds_4s"), 3)])
        head = ("published (babble, cafeteria)", *(f"{metric}, {snr}" for metric in ("STOI", "PESQ") for snr in SNRS),
                "MiB, positions not counted", "times smaller", "multiply-adds for 4 s, G")
        return markdown(head, rows)

    def verdicts(self, model: str) -> str:
        """The targets, and whether they are met."""
        return "\n".join(f"- {self._verdict(model, times)}" for times in self.targets[model]["times"])

    def _verdict(self, model: str, times: float) -> str:
        allowed = self.targets[model]["max_drop"]
        drops = ", ".join(f"{TITLES[metric]} -{drop:g}" for metric, drop in allowed.items())
        target = f"Target: {times:g} times smaller on disk within {drops}"
        titles = compressed(model)
        judged = {variant: self._judged(f"{model}-{variant}", f"{model}-teacher", times, allowed)
                  for variant in titles if self.get(f"{model}-{variant}")}
        if not judged:
            return f"{target}: {MISSING}"
        met = any(good for good, _ in judged.values())
        verdict = "**met**" if met else "**not met**" if len(judged) == len(titles) else "**not met** so far"
        reasons = (f"{titles[variant]} {'meets it' if good else 'does not'}: {found}"
                   for variant, (good, found) in judged.items())
        return "; ".join([f"{target}: {verdict}", *reasons])

    def _judged(self, name: str, teacher: str, times: float, allowed: Mapping[str, float]) -> tuple[bool, str]:
        """Whether a compressed model meets the target, and what was found."""
        result = self.stored[name]
        reached = 4 * result["dense_parameters"] / result["bytes"]
        changes = {metric: _change(result, teacher, metric) for metric in allowed}
        good = reached >= times and all(changes[metric] >= -drop for metric, drop in allowed.items())
        shown = (f"{TITLES[metric]} {change:+.3f}" for metric, change in changes.items())
        return good, ", ".join([f"{reached:.1f} times", *shown])

    # ---- documents ----------------------------------------------------------------------------------------------

    def ablations(self) -> str:
        """Each part of work 1 left out in turn."""
        head = ("GCRN", "bytes on disk", "nonzero weights", *(f"{TITLES[m]}, to uncompressed" for m in METRICS[:3]),
                *(f"{TITLES[m]}, to all of it" for m in METRICS[:3]))
        rows = []
        for variant, title in ABLATIONS.items():
            name, result = f"gcrn-{variant}", self.get(f"gcrn-{variant}")
            if result is None:
                rows.append([title, MISSING])
                continue
            own = [self._difference(name, "gcrn-teacher", metric) for metric in METRICS[:3]]
            rest = [self._difference(name, "gcrn-ipkd", metric) for metric in METRICS[:3]] if variant != "ipkd" else []
            rows.append([title, f"{result['bytes']:,}", f"{result['nonzeros']:,}", *own, *rest])
        return markdown(head, rows)

    def beside(self, *variants: str) -> str:
        """A row for every model and variant that it has: what was published, what we measured."""
        head = ("times smaller", "published", "paper-style", "on disk", "bytes on disk",
                *(f"{TITLES[metric]}, to uncompressed" for metric in METRICS[:3]))
        rows = []
        for model, title in MODELS.items():
            titles = compressed(model)
            for variant in [variant for variant in variants if variant in titles]:
                name = f"{model}-{variant}"
                result, printed = self.get(name), _number(self.published.get(name, {}).get("times"), 0)
                row = [f"{title}, {titles[variant]}", printed]
                if result is None:
                    rows.append([*row, MISSING])
                    continue
                dense = 4 * result["dense_parameters"]
                changes = [self._difference(name, f"{model}-teacher", metric) for metric in METRICS[:3]]
                rows.append([*row, f"{dense / result['paper_bytes']:.1f}", f"**{dense / result['bytes']:.1f}**",
                             f"{result['bytes']:,}", *changes])
        return markdown(head, rows)

    def small(self) -> str:
        """Compressed against trained small from scratch."""
        head = ("small - compressed", "bytes of the small", "of the compressed",
                *(TITLES[metric] for metric in METRICS[:3]), "published STOI, small", "pruned")
        rows = []
        for model, title in MODELS.items():
            printed = [_both(self.published[f"{model}-{of}"]["stoi"]["-5 dB"]) for of in ("small", "pruned")]
            for variant in VERSUS["small"]:
                names = f"{model}-small", f"{model}-{variant}"
                sides = [f"{side['bytes']:,}" if side else MISSING for side in map(self.get, names)]
                changes = [self._difference(*names, metric) for metric in METRICS[:3]]
                rows.append([f"{title}, {VARIANTS[variant]}", *sides, *changes, *(printed if variant == "c1" else ())])
        return markdown(head, rows)


def variants(model: str) -> dict[str, str]:
    """The titles of all runs of a model that are shown side by side."""
    return {**VARIANTS, **REMEDIES.get(model, {})}


def compressed(model: str) -> dict[str, str]:
    """Those of them that a target can be met with."""
    return {variant: VARIANTS[variant] for variant in COMPRESSED} | REMEDIES.get(model, {})


def _change(result: Result, other: str, metric: str) -> float:
    """Mean difference to another result; not a number where that was not measured, and then no target is met."""
    found = result["scores"][EVERYTHING].get(metric, {}).get("against", {}).get(other, {}).get("mean")
    return math.nan if found is None else float(found)


def _mean(scores: Mapping[str, Any], metric: str) -> str:
    return interval(scores[metric]) if metric in scores else MISSING


def interval(found: Mapping[str, Any], signed: bool = False) -> str:
    """A mean with its interval."""
    form = "+.3f" if signed else ".2f"
    mean, low, high = ("-" if found[key] is None else f"{found[key]:{form}}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} .. {high})"


def _both(values: Iterable[float] | None) -> str:
    return "" if values is None else ", ".join(f"{value:.2f}" for value in values)


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; rows that are too short end in empty cells."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns)]
    lines += [[*row, *[""] * len(columns)][: len(columns)] for row in map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
