"""A run that is killed and started again ends with the bytes of a run that was left in peace."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy

from sottovoce.ledger import read_ledger

KINDS = ["train", "prune", "iterate", "cluster", "distill"]
STAGES = "".join(map(toy.stage_table, KINDS)).replace("steps = 4", "steps = 25")

# The command itself, which keeps a checkpoint of every step and says what it does as soon as it does it.
DRIVER = """
import sottovoce.training
from sottovoce import terminal
from sottovoce.cli import main

class Telling(terminal.Shown):
    def stage(self, name):
        print("stage", name, flush=True)

    def step(self, step, steps, loss):
        print("step", step, flush=True)

    def row(self, row):
        print("row", row.stage, flush=True)

sottovoce.training.SAVE_SECONDS = 0.0
sottovoce.training.GOOD_STEPS = 1
terminal.Shown = Telling
main()
"""


def started(recipe: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, "compress", str(recipe), "--run", str(recipe.parent / "run")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(process: subprocess.Popen[str], events: int, seconds: float, sign: signal.Signals) -> tuple[int, str]:
    """Exit status and stderr of a process that is sent a signal so many events and seconds after its start."""
    assert process.stdout is not None
    for _ in range(events):
        process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(sign)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def finished(recipe: Path) -> list[str]:
    """The events of a run that is left in peace."""
    out, err = started(recipe).communicate(timeout=300)
    assert "model.sotto" in out, err
    return [line for line in out.splitlines() if line.startswith(("stage ", "step ", "row "))]


def litter(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or ".progress." in path.name]


@pytest.mark.slow
def test_kills_change_nothing(recipe: Callable[..., Path], tmp_path: Path) -> None:
    peaceful, killed = (recipe(STAGES, folder=tmp_path / name) for name in ("peaceful", "killed"))
    events = finished(peaceful)
    chance, kills, done = random.Random(5), 0, 0
    while kills < 5 or done < 2:                         # a busy machine comes less far before each
        moment = chance.randint(2, len(events) // 6), chance.uniform(0, 0.05)
        status, err = stopped(started(killed), *moment, signal.SIGKILL)
        assert status == -signal.SIGKILL, err
        ledger = killed.parent / "run" / "ledger.jsonl"
        kills, done = kills + 1, len(read_ledger(ledger)) if ledger.is_file() else 0
    assert len(finished(killed)) < len(events), "the last start began anew"
    one, two = (recipe.parent / "run" for recipe in (peaceful, killed))
    assert (one / "model.sotto").read_bytes() == (two / "model.sotto").read_bytes()
    rows = [[row.lasting() for row in read_ledger(run / "ledger.jsonl")] for run in (one, two)]
    assert done < len(rows[0]) and rows[0] == rows[1]
    assert not litter(two)


def test_ctrl_c_says_one_line_and_the_run_goes_on(recipe: Callable[..., Path], tmp_path: Path) -> None:
    path = recipe(STAGES)
    status, err = stopped(started(path), 6, 0.0, signal.SIGINT)
    assert (status, err.splitlines()) == (130, ["sottovoce: interrupted; the same command goes on from here"])
    again = started(path)
    assert again.stdout is not None
    events = [again.stdout.readline() for _ in range(4)]
    stopped(again, 0, 0.0, signal.SIGKILL)
    assert events[0] == "row 00-start\n" and events[1] == "stage 01-train\n"
    assert int(events[2].split()[1]) >= 3         # the first two were kept


def test_what_a_kill_left_is_swept(sottovoce: Callable[..., Any], recipe: Callable[..., Path], tmp_path: Path) -> None:
    command = ["compress", recipe(toy.stage_table("prune")), "--run", tmp_path / "run"]
    assert sottovoce(*command).status == 0
    stages = tmp_path / "run" / "stages"
    for name in (".model.sotto.123.part", "stages/.00-start.safetensors.123.part"):
        (tmp_path / "run" / name).write_bytes(b"half a fi")
    # Between the row of a stage and the end of its progress there is a moment for a kill.
    shutil.copy(stages / "01-prune.safetensors", stages / "01-prune.progress.safetensors")
    assert len(litter(tmp_path)) == 3
    assert sottovoce(*command).status == 0
    assert not litter(tmp_path)
