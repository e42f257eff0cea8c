"""What the compiled engine takes, as Markdown: times beside onnxruntime, memory, and what 8 bits do to speech."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from full.tables import MISSING, markdown
from sottovoce.terminal import TITLES

PRECISIONS = ("int8", "int16", "float32")
BEST = ""                                # the instructions that run under no name
# Times as fast as onnxruntime in 8 bits, at least and better still, by the family and the instructions.
HOT = {("lstm", BEST): (12, 20), ("lstm", "avx2"): (5, 10), ("gcrn", BEST): (4, 8), ("conformer", BEST): (8, 12)}
COLD = {("lstm", BEST): (6, 12)}
MEGABYTES = 10                           # of the C program with an LSTM of 30 million weights, at most
SHARE = 0.75                             # of the bandwidth of memory, at least, of that LSTM
LEAST = 0.02                             # share of a frame that a kind of operation takes to be shown
CHANGES = {"pesq_wb": 0.01, "stoi": 0.1}          # to the reference, up or down, at most

Told = Mapping[str, Any]


def page(on: Sequence["Compiled"], fuzzed: Path) -> str:
    """Everything about the engine: a section for each CPU, and what fuzzing came to."""
    parts = (Compiled.times, Compiled.profile, Compiled.memory, Compiled.quality, Compiled.verdicts)
    sections = ["\n\n".join([f"### {each.cpu}", *(part(each) for part in parts)]) for each in on]
    return "\n\n".join(["## The engine", *(sections or [f"{MISSING.capitalize()}."]), fuzzing(fuzzed)])


def by_cpu(on: Sequence["Compiled"], table: Callable[["Compiled"], str]) -> str:
    """A table for each CPU, below its name."""
    return "\n\n".join(f"{each.cpu}:\n\n{table(each)}" for each in on) or f"{MISSING.capitalize()}."


def fuzzing(path: Path) -> str:
    """How long hostile files were looked for, by target, and how many made the engine fail."""
    fuzzed: Told = json.loads(path.read_text())["all"] if path.is_file() else {}
    rows = [[target, f"{told['seconds']:,}", f"{told['executions']:,}", str(told["crashes"])]
            for target, told in fuzzed.items()]
    return markdown(("fuzzing", "seconds", "executions", "crashes"), rows or [[MISSING]])


class Compiled:
    """The tables of one CPU, from what `engine_speed.py` stored."""

    def __init__(self, path: Path) -> None:
        self.result: Told = json.loads(path.read_text())
        self.models: Mapping[str, Told] = self.result["models"]
        commits = dict.fromkeys(model["commit"][:7] for model in self.models.values())       # engines may differ
        self.cpu = f"{self.result['cpu']}, {self.result['rounds']} rounds, commit {', '.join(commits)}"

    def times(self) -> str:
        """A row for every model and kind of instructions, and for onnxruntime with the model as it was."""
        head = ("microseconds a frame, one thread", *PRECISIONS, "int8, to onnxruntime's int8 (10 .. 90 %)",
                "caches emptied: int8", "to onnxruntime's int8 (10 .. 90 %)")
        rows = []
        for name, told in self.models.items():
            hot, cold = told["hot"]["kinds"], told["cold"]["kinds"]
            for engine in ("compiled", "onnxruntime"):
                for instructions in _instructions(hot, engine):
                    kind = f"{engine} int8 {instructions}".strip()
                    how = instructions or told["hot"]["instructions"] if engine == "compiled" else "onnxruntime, dense"
                    taken = (hot.get(f"{engine} {precision} {instructions}".strip()) for precision in PRECISIONS)
                    rows.append([f"{name}: {how}", *map(_microseconds, taken), _times(hot[kind]),
                                 _microseconds(cold[kind]), _times(cold[kind])])
        rows += [[name, MISSING] for name in self.result.get("missing", ())]
        return markdown(head, rows)

    def short(self) -> str:
        """Of models that filter a waveform what a reader asks first, with the best instructions."""
        head = ("", "bytes on disk", "microseconds a frame, 8 bits", "times as fast as onnxruntime (10 .. 90 %)",
                "memory of the C program")
        rows = [[name, f"{told['bytes']:,}", _microseconds(best := told["hot"]["kinds"]["compiled int8"]), _times(best),
                 _megabytes(told["c_process"]["VmHWM"])] for name, told in self.models.items() if told["c_process"]]
        return markdown(head, rows)

    def memory(self) -> str:
        """What is read for a frame, how fast, and what processes take."""
        head = ("", "bytes on disk", "bytes of weights a frame", "GB a second", "read at best", "share",
                "C program, at most", "then", "onnxruntime's process", "load of the machine, cores")
        rows = [[name, f"{told['bytes']:,}", f"{told['weight_bytes']:,}", f"{1e-9 * told['bytes_a_second']:.1f}",
                 f"{1e-9 * told['bandwidth']:.1f}", f"{told['share_of_bandwidth']:.0%}",
                 *(_megabytes(told["c_process"].get(key)) for key in ("VmHWM", "VmRSS")),
                 _megabytes(told["onnxruntime_process"]), f"{told['load']:.1f}, {self.result['cores']}"]
                for name, told in self.models.items()]
        return markdown(head, rows)

    def profile(self) -> str:
        """Where the time of a frame goes in a C program, by kind of operation, and how fast weights are read there."""
        rows = []
        for name, told in self.models.items():
            taken = sorted(told.get("profile", {}).items(), key=lambda row: -row[1])
            whole = sum(each for _, each in taken)
            shown = (f"{op} {each:.{int(each < 9.5)}f}" for op, each in taken if each >= LEAST * whole)
            rows.append([name, f"{whole:.0f}", ", ".join(shown), f"{1e-3 * told['weight_bytes'] / whole:.1f}",
                         f"{1e-9 * told['bandwidth']:.1f}"])
        return markdown(("microseconds of a frame, int8, at best", "all", "of which", "weights, GB a second",
                         "read at best"), rows)

    def quality(self) -> str:
        """Scores in 8 bits beside those of the reference."""
        head = ("mean", *(f"{TITLES[metric]}, {of}" for metric in CHANGES for of in ("reference", "int8", "change")))
        rows = []
        for name, told in self.models.items():
            if "quality" in told:
                found = told["quality"]
                rows.append([name, *(f"{found[of][metric]:{'+' if of == 'change' else ''}.3f}"
                                     for metric in CHANGES for of in ("reference", "int8", "change"))])
        return markdown(head, rows)

    def verdicts(self) -> str:
        """The targets, and whether they are met."""
        return "\n".join(f"- {line}" for line in self._verdicts())

    def _verdicts(self) -> Iterator[str]:
        for how, targets in (("hot", HOT), ("cold", COLD)):
            for (family, instructions), (least, better) in targets.items():
                for name, told in self._of(family):
                    kind = f"compiled int8 {instructions}".strip()
                    if kind not in told[how]["kinds"]:
                        continue
                    found = told[how]["kinds"][kind]["speedup"]
                    where = (instructions or told[how]["instructions"]) + ("" if how == "hot" else ", caches emptied")
                    yield _verdict(f"{name}: {least} times as fast as onnxruntime in 8 bits, {better} if it can be, "
                                   f"{where}", found >= least, f"{found:.1f}")
        for name, told in self._of("lstm"):
            most = told["c_process"].get("VmHWM", 0)
            yield _verdict(f"{name}: C program within {MEGABYTES} MB", 0 < most <= 1e6 * MEGABYTES, _megabytes(most))
            share = told["share_of_bandwidth"]
            yield _verdict(f"{name}: {SHARE:.0%} of the bandwidth", share >= SHARE, f"{share:.0%}")
        for name, told in self.models.items():
            if "quality" in told:
                changes = told["quality"]["change"]
                wanted = ", ".join(f"{TITLES[metric]} within {most:g}" for metric, most in CHANGES.items())
                yield _verdict(f"{name}: {wanted} of the reference",
                               all(abs(changes[metric]) <= most for metric, most in CHANGES.items()),
                               ", ".join(f"{TITLES[metric]} {changes[metric]:+.3f}" for metric in CHANGES))

    def _of(self, family: str) -> list[tuple[str, Told]]:
        return [(name, told) for name, told in self.models.items() if name.startswith(family)]


def _verdict(target: str, met: bool, found: str) -> str:
    return f"Target: {target}: **{'met' if met else 'not met'}**, {found}"


def _instructions(kinds: Told, engine: str) -> list[str]:
    """Those that an engine was run with; the best have no name."""
    return [kind.removeprefix(f"{engine} int8").strip() for kind in kinds if kind.startswith(f"{engine} int8")]


def _microseconds(row: Told | None) -> str:
    return "" if row is None else f"{row['microseconds']:.0f}" if "error" not in row else "not run"


def _times(row: Told) -> str:
    return "" if "error" in row else f"{row['speedup']:.2f} ({row['speedup_10']:.2f} .. {row['speedup_90']:.2f})"


def _megabytes(count: int | None) -> str:
    return f"{1e-6 * count:.1f} MB" if count else ""
