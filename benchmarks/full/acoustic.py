"""The results of work 5 as Markdown: thin highway networks, by themselves, taught, trained on utterances, adapted."""

from collections.abc import Iterator, Mapping
from typing import Any

from full.results import EVERYTHING
from full.tables import MISSING, Result, Results, interval, markdown
from sottovoce.terminal import TITLES

TEACHER, BASELINE, STUDENT = "dnn-h2048-smbr", "hdnn-h128", "hdnn-h128-skd-smbr-p05"
ADAPTED = {                              # runs that adapt, and the student that each begins with
    "hdnn-h128-smbr-adapt": "hdnn-h128-smbr", "hdnn-h128-kd-smbr-adapt": "hdnn-h128-kd-smbr-p02",
    "hdnn-h128-skd-smbr-adapt": STUDENT,
}
COMPRESSED, DENSE = "hdnn-h128-small", "hdnn-h128-dense"
WIDTHS = (512, 256, 128)
METRICS = ("fer", "per", "wer")
TAUGHT = {
    "kd": "taught", "kd-q02": "taught, q = 0.2", "kd-q05": "taught, q = 0.5", "kd-q1": "taught, q = 1",
    "kd-t2": "taught, T = 2", "kd-t3": "taught, T = 3", "skd": "taught by the sMBR teacher",
    "kd-smbr-p02": "taught, sMBR, p = 0.2", "kd-smbr-p05": "taught, sMBR, p = 0.5",
    "skd-smbr-p02": "taught by the sMBR teacher, sMBR, p = 0.2",
    "skd-smbr-p05": "taught by the sMBR teacher, sMBR, p = 0.5",
}
LABELS = {"teacher": "the teacher", "decoded": "the words found"}
LEARNS = {"*": "all", "*gate*": "the gates"}


class AcousticModels:
    """The tables, from the stored results."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.targets: Mapping[str, float] = results.targets["acoustic"]

    def page(self) -> str:
        """Everything about work 5."""
        return "\n\n".join(["## Acoustic models", self.rows(), self.orders(), self.adaptation(), self.verdicts()])

    def rows(self) -> str:
        """Size and errors of every model, beside what was published."""
        head = ("", "parameters", "bytes on disk", "times smaller", *(TITLES[metric] for metric in METRICS),
                f"{TITLES['wer']}, dev", "steps", "published WER, eval, dev", "published parameters, M")
        return markdown(head, (self._row(name, title) for name, title in names().items()))

    def _row(self, name: str, title: str) -> list[str]:
        result, printed = self.results.get(name), self.results.published.get(name, {})
        published = [", ".join(f"{rate:.1f}" for rate in printed.get("wer", ())), str(printed.get("millions", ""))]
        if result is None:
            return [title, MISSING, *[""] * 7, *published]
        scores, dense = result["scores"][EVERYTHING], self.results.get(TEACHER) or result
        return [
            title, f"{result['rows'][-1]['parameters']:,}", f"{result['bytes']:,}",
            f"{4 * dense['dense_parameters'] / result['bytes']:.1f}",
            *(interval(scores[metric]) for metric in METRICS), interval(result["dev"]["wer"]),
            f"{result['steps_in_all']:,}", *published,
        ]

    # ---- what the work says is better -----------------------------------------------------------------------------

    def orders(self) -> str:
        """What should be better than what, by how much it is, and by how much it was published to be."""
        head = ("expected", "WER, difference", "", "published, eval")
        found = [self._order(*order) for order in expected()]
        return markdown(head, [*found, *self._gates()])

    def _order(self, title: str, better: str, worse: str) -> list[str]:
        rates = [self.results.published.get(name, {}).get("wer", (None,))[0] for name in (better, worse)]
        printed = "" if None in rates else f"{rates[0] - rates[1]:+.1f}"
        result = self.results.get(better)
        change = result and result["scores"][EVERYTHING]["wer"]["against"].get(worse)
        if not change:
            return [title, MISSING, "", printed]
        word = "**holds**" if change["high"] < 0 else "**does not hold**" if change["low"] > 0 else "not told apart"
        return [title, interval(change, signed=True), word, printed]

    def _gates(self) -> Iterator[list[str]]:
        most = self.targets["most_wer_of_gates"]
        for name, start in ADAPTED.items():
            for labels, source in LABELS.items():
                title = f"{names()[start]}, adapted from {source}: gates as all, within {most:g}"
                printed = [self._published(name, labels, only)[1:] for only in ("*gate*", "*")]
                shown = f"{printed[0][0] - printed[1][0]:+.1f}" if all(printed) else ""
                found = [self._adapted(name, labels, only) for only in ("*gate*", "*")]
                if found[0] is None or found[1] is None:
                    yield [title, MISSING, "", shown]
                    continue
                change = found[0]["after"]["wer"] - found[1]["after"]["wer"]
                yield [title, f"{change:+.2f}", "**holds**" if change <= most else "**does not hold**", shown]

    # ---- adaptation ----------------------------------------------------------------------------------------------

    def adaptation(self) -> str:
        """Errors before and after each student has adapted to the speakers of the test list."""
        head = ("adapted", "what learns", "from", "FER, before", "after", "WER, before", "after",
                "published WER, before, after")
        rows = []
        for name, start in ADAPTED.items():
            for labels, source in LABELS.items():
                for only, what in LEARNS.items():
                    row, found = [names()[start], what, source], self._adapted(name, labels, only)
                    printed = ", ".join(f"{rate:.1f}" for rate in self._published(name, labels, only))
                    cells = [MISSING, "", "", ""] if found is None else [
                        f"{found[when][metric]:.2f}" for metric in ("fer", "wer") for when in ("before", "after")]
                    rows.append([*row, *cells, printed])
        return markdown(head, rows)

    def _adapted(self, name: str, labels: str, only: str) -> Mapping[str, Any] | None:
        adapted = (self.results.get(name) or {}).get("adapted", ())
        return next((stage for stage in adapted if (stage["labels"], stage["only"]) == (labels, only)), None)

    def _published(self, name: str, labels: str, only: str) -> list[float]:
        found: list[float] = self.results.published.get(name, {}).get(labels, {}).get(only, [])
        return found

    # ---- the targets ---------------------------------------------------------------------------------------------

    def verdicts(self) -> str:
        """The targets, and whether they are met."""
        return "\n".join(f"- {verdict}" for verdict in (self._closed(), self._closed_adapted(), self._small()))

    def _closed(self) -> str:
        result = self.results.get(STUDENT)
        share = None if result is None else self._share(_wer(result))
        return self._judged("least_closed", "", {names()[STUDENT]: share})

    def _closed_adapted(self) -> str:
        found = {f"{what} from {source}": self._adapted("hdnn-h128-skd-smbr-adapt", labels, only)
                 for labels, source in LABELS.items() for only, what in LEARNS.items()}
        shares = {title: None if stage is None else self._share(stage["after"]["wer"])
                  for title, stage in found.items()}
        return self._judged("least_closed_adapted", ", adapted", shares)

    def _share(self, rate: float) -> float | None:
        """Of the way from the student's own errors to the teacher's; None where there is none to go."""
        baseline, teacher = self.results.get(BASELINE), self.results.get(TEACHER)
        if baseline is None or teacher is None or _wer(baseline) <= _wer(teacher):
            return None
        return (_wer(baseline) - rate) / (_wer(baseline) - _wer(teacher))

    def _judged(self, target: str, how: str, shares: Mapping[str, float | None]) -> str:
        least = self.targets[target]
        text = f"Target: the student{how} closes {least:.0%} of the gap in word errors to the sMBR teacher"
        found = {title: share for title, share in shares.items() if share is not None}
        if not found:
            return f"{text}: {MISSING}"
        return "; ".join([f"{text}: {_word(max(found.values()) >= least)}",
                          *(f"{title} {share:.0%}" for title, share in found.items())])

    def _small(self) -> str:
        most, rise = self.targets["most_bytes"], self.targets["most_wer_rise"]
        target = f"Target: the student in {most:,} bytes, word errors +{rise:g} at most"
        result = self.results.get(COMPRESSED)
        if result is None:
            return f"{target}: {MISSING}"
        against = result["scores"][EVERYTHING]["wer"]["against"]
        good = result["bytes"] <= most and against[STUDENT]["mean"] <= rise
        control = f", {interval(against[DENSE], signed=True)} to it trained on" if DENSE in against else ""
        return f"{target}: {_word(good)}; {result['bytes']:,} bytes, {interval(against[STUDENT], signed=True)}{control}"


def names() -> dict[str, str]:
    """The runs that are models of their own, in the order of the table, and what they are called there."""
    return dict(_named())


def _named() -> Iterator[tuple[str, str]]:
    yield from {"dnn-h2048": "DNN-H2048L6", TEACHER: "DNN-H2048L6, sMBR"}.items()
    for width in WIDTHS:
        for kind in ("dnn", "hdnn"):
            yield f"{kind}-h{width}", f"{kind.upper()}-H{width}L10"
            yield f"{kind}-h{width}-smbr", f"{kind.upper()}-H{width}L10, sMBR"
    for suffix, title in TAUGHT.items():
        yield f"{BASELINE}-{suffix}", f"HDNN-H128L10, {title}"
    yield from {COMPRESSED: "the last in four bits", DENSE: "the last, trained on"}.items()


def expected() -> Iterator[tuple[str, str, str]]:
    """What the work says: a sentence, the run that is better, and the one that is worse."""
    for width in WIDTHS:
        for suffix, how in (("", ""), ("-smbr", ", sMBR")):
            yield f"highway before plain, {width} units{how}", f"hdnn-h{width}{suffix}", f"dnn-h{width}{suffix}"
    yield "taught before by itself", f"{BASELINE}-kd", BASELINE
    yield "taught by the sMBR teacher before by the other", f"{BASELINE}-skd", f"{BASELINE}-kd"
    for name, title in names().items():
        if f"{name}-smbr" in names():
            yield f"sMBR helps {title}", f"{name}-smbr", name
    for of, name in (("kd", f"{BASELINE}-kd-smbr-p02"), ("skd", STUDENT)):
        yield f"sMBR helps HDNN-H128L10, {TAUGHT[of]}", name, f"{BASELINE}-{of}"
        yield f"HDNN-H128L10, sMBR: {TAUGHT[of]} before by itself", name, f"{BASELINE}-smbr"


def _wer(result: Result) -> float:
    return float(result["scores"][EVERYTHING]["wer"]["mean"])


def _word(good: bool) -> str:
    return "**met**" if good else "**not met**"
