"""The queue of full-size runs, on runs that are tiny or only pretend; what it makes of results."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy

from sottovoce.checkpoints import save_tensors
from sottovoce.errors import RecipeError, SottovoceError
from sottovoce.ledger import Row
from sottovoce.metrics.statistics import Rate, weights_of
from sottovoce.recipe import parse_recipe, parse_stages

sys.path.insert(0, str(toy.ROOT / "benchmarks"))
from full import acoustic, extraction, pages, recognition, status
from full import queue as queues
from full.one import make
from full.queue import FullRun, Queue, read_runs, work
from full.results import compare_anew, record, shipped_scores, spent
from full.scores import kept
from full.tables import MISSING, REMEDIES, Results, compressed

LISTED = Queue(read_runs(toy.ROOT / "benchmarks/full/runs.toml"), toy.ROOT / "recipes/full", toy.ROOT / "runs/full",
               toy.ROOT / "benchmarks/results/full")
TEACHER = FullRun("gcrn-teacher", "gcrn", "teacher")
CHILD = FullRun("gcrn-c1", "gcrn", "compression", ("gcrn-teacher",))
OTHER = FullRun("lstm-teacher", "lstm", "teacher")
START = FullRun("fdnn-start", "fdnn", "start")
BEGUN = FullRun("fdnn-teacher", "fdnn", "teacher", ("fdnn-start",))
TRAIN = '[[stages]]\nkind = "train"\nsteps = 3\n'
ROUNDS = '[[stages]]\nkind = "iterate"\nrounds = 2\nstages = [{ kind = "prune", ratio = 0.5 }, { kind = "train", ' \
         'steps = 2 }]\n[[stages]]\nkind = "cluster"\nvalues = 8\n'


def tiny(folder: Path) -> Queue:
    """Runs on the sample, of models of a few hundred weights."""
    made = Queue((TEACHER, CHILD, OTHER), folder / "recipes", folder / "runs", folder / "results")
    made.recipes.mkdir()
    task = toy.TASK.replace('path = "', f'path = "{toy.ROOT}/sample/').replace("LISTS", str(folder))
    test = task[task.index("[task.dev]"):].replace("dev", "test").replace("[5]", "[-5, 0, 5]")
    begins = 'checkpoint = "../runs/{}/stages/01-train.safetensors"'
    for run, start, stages in ((TEACHER, "", TRAIN), (CHILD, begins.format("gcrn-teacher"), ROUNDS),
                               (OTHER, "", TRAIN), (START, "", TRAIN), (BEGUN, begins.format("fdnn-start"), TRAIN)):
        text = f'[model]\nname = "lstm"\nhidden = 4\nlayers = 1\n{start}\n{task}{test}{stages}'
        (made.recipes / f"{run.name}.toml").write_text(text)
    return made


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return tiny(tmp_path)


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "POLL_SECONDS", 0.01)


def pretend(queue: Queue, fails: tuple[str, ...] = ()) -> object:
    """A command that leaves what a run leaves, or fails; calls are noted in the file `calls`."""
    def command(run: FullRun) -> list[str]:
        here, result = queue.directory(run), queue.results / f"{run.name}.json"
        does = f"echo {run.name} >> {queue.work}/calls; sleep 0.05; "
        if run.name in fails:
            return ["sh", "-c", f"{does} echo sottovoce: no luck; exit 2"]
        does += f"cp {queue.recipes}/{run.name}.toml {here}/recipe.toml; touch {here}/model.sotto; "
        of = json.dumps({"model_sha256": hashlib.sha256(b"").hexdigest()})
        return ["sh", "-c", f"{does} mkdir -p {queue.results}; echo '{of}' > {result}"]
    return command


def calls(queue: Queue) -> list[str]:
    return (queue.work / "calls").read_text().split()


def states(queue: Queue, since: float = 0.0) -> list[str]:
    return [queue.state(run, since) for run in queue.runs]


# ---- the list --------------------------------------------------------------------------------------------------


def test_the_list_holds_every_run_that_a_table_has_a_row_for() -> None:
    models, variants = ("gcrn", "lstm", "fdnn", "tcnn"), ("teacher", "c1", "ipkd", "dense", "c2", "small")
    enhancers = [f"{model}-{variant}" for variant in variants for model in models]
    ablations = [f"gcrn-{variant}" for variant in ("no-distill", "dense-teacher", "one-shot", "global")]
    remedies = [f"{model}-{variant}" for model, of in REMEDIES.items() for variant in of]
    assert sorted(run.name for run in LISTED.runs) == sorted(
        {*enhancers, *ablations, *remedies, *extraction.names(), *recognition.names(), *recognition.ABLATIONS,
         *acoustic.names(), *acoustic.ADAPTED, "lstm-start", "lstm-small-start", "tcnn-start", "wase-separate",
         "conformer-start"})


@pytest.mark.parametrize("run", LISTED.runs, ids=lambda run: run.name)
def test_a_recipe_of_the_list_is_sound_and_begins_where_the_list_says(run: FullRun) -> None:
    recipe = LISTED.recipe(run)
    assert recipe.task.has_test and recipe.stages
    if recipe.model.checkpoint is not None:
        assert any(recipe.model.checkpoint.is_relative_to(LISTED.work.resolve() / name) for name in run.after)


@pytest.mark.parametrize(("text", "message"), [
    (", ".join(['{ name = "a", model = "m", kind = "teacher" }'] * 2), "in the list twice"),
    ('{ name = "a", model = "m", kind = "control", after = ["b"] }', "expected an earlier run, got 'b'"),
    ('{ name = "a", model = "m", kind = "pupil" }', "kind: expected one of start, teacher, compression"),
])
def test_a_mistake_in_the_list_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "runs.toml").write_text(f"runs = [{text}]")
    with pytest.raises(RecipeError, match=message):
        read_runs(tmp_path / "runs.toml")


# ---- the work ---------------------------------------------------------------------------------------------------


def test_runs_are_made_in_order_and_once(queue: Queue) -> None:
    assert states(queue) == ["ready", "waiting", "ready"]
    work(queue, pretend(queue), 1, lambda line: None)
    assert calls(queue) == ["gcrn-teacher", "gcrn-c1", "lstm-teacher"] and states(queue) == ["done"] * 3
    work(queue, pretend(queue), 1, lambda line: None)
    assert len(calls(queue)) == 3


def test_one_that_fails_stops_only_those_after_it(queue: Queue) -> None:
    said: list[str] = []
    work(queue, pretend(queue, fails=("gcrn-teacher",)), 1, said.append)
    assert calls(queue) == ["gcrn-teacher", "lstm-teacher"] and states(queue) == ["failed", "blocked", "done"]
    assert "gcrn-teacher: sottovoce: no luck" in said
    time.sleep(0.02)
    work(queue, pretend(queue), 1, said.append)          # a later queue tries again
    assert calls(queue)[2:] == ["gcrn-teacher", "gcrn-c1"] and states(queue) == ["done"] * 3


def test_two_queues_side_by_side_never_make_the_same_run(queue: Queue) -> None:
    with ThreadPoolExecutor() as two:
        for each in [two.submit(work, queue, pretend(queue), 1, lambda line: None) for _ in range(2)]:
            each.result()
    assert sorted(calls(queue)) == ["gcrn-c1", "gcrn-teacher", "lstm-teacher"] and states(queue) == ["done"] * 3


def test_a_run_stays_taken_for_as_long_as_its_process_lives(queue: Queue) -> None:
    directory = queue.directory(TEACHER)
    with queues.lock(directory) as file:
        assert file is not None
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(file.fileno(),))
        file.write(str(child.pid).encode())
    with queues.lock(directory) as file:                 # the queue has ended, the run goes on
        assert file is None
    assert queue.state(TEACHER) == "running"
    child.communicate()
    assert queue.state(TEACHER) == "ready"               # what is left of the lock holds nobody up
    with queues.lock(directory) as file:
        assert file is not None


def test_a_queue_that_is_killed_leaves_its_run_at_work(queue: Queue) -> None:
    child = os.fork()
    if child == 0:
        work(queue, lambda run: ["sleep", "60"], 1, lambda line: None)
        os._exit(0)
    while (pid := queues.holder(queue.directory(TEACHER))) is None:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with queues.lock(queue.directory(TEACHER)) as file:
        assert file is None and queue.state(TEACHER) == "running"
    os.kill(pid, signal.SIGKILL)


def test_a_changed_recipe_is_not_done(queue: Queue) -> None:
    work(queue, pretend(queue), 1, lambda line: None)
    (queue.recipes / "lstm-teacher.toml").open("a").write("# changed\n")
    assert states(queue) == ["done", "done", "ready"]
    (queue.directory(TEACHER) / "recipe.toml").unlink()  # a model from elsewhere, put in the run's place
    assert states(queue) == ["ready", "done", "ready"]


def test_a_result_of_an_earlier_file_is_not_that_of_the_run(queue: Queue) -> None:
    work(queue, pretend(queue), 1, lambda line: None)
    (queue.directory(OTHER) / "model.sotto").write_bytes(b"made anew")
    assert states(queue) == ["done", "done", "ready"]


def test_threads_are_those_asked_for(queue: Queue) -> None:
    work(queue, lambda run: ["sh", "-c", "echo $OMP_NUM_THREADS; exit 1"], 7, lambda line: None)
    assert (queue.directory(TEACHER) / "failure.txt").read_text() == "7"


# ---- acoustic models, from the listed recipes ----------------------------------------------------------------------

CHAIN = ("dnn-h2048", "dnn-h2048-smbr", "hdnn-h128-skd", "hdnn-h128-skd-smbr-p05", "hdnn-h128-skd-smbr-adapt")
SMALLER = {"hidden": "8", "layers": "3", "steps": "2", "warmup": "0", "beam": "2.0", "lattice_beam": "1.0",
           "precision": '"fp32"'}
HEARD = """[task]
name = "acoustic"
alignments = "../runs/full/alignments"
least = 20
share = 0.5
workers = 0
speech = {{ path = "{0}", where = {{ split = "train", corpus = "librispeech-train-clean-100" }} }}
dev = {{ speech = {{ path = "{0}", where = {{ split = "test" }} }}, count = 2 }}
test = {{ speech = {{ path = "{0}", where = {{ split = "test" }} }}, count = 3 }}
decoder = {{ graph = "../runs/full/graph", words = 300, ngrams = 2000, beam = 4.0, active = 100 }}
"""


def acoustic_queue(folder: Path) -> Queue:
    """Some of the listed runs, on a few clips of the sample and with models of a few hundred weights."""
    runs = tuple(replace(run, after=tuple(name for name in run.after if name in CHAIN))
                 for run in LISTED.runs if run.name in CHAIN)
    made = Queue(runs, folder / "recipes", folder / "runs" / "full", folder / "results")
    made.recipes.mkdir()
    (made.recipes / "acoustic-task.toml").write_text(HEARD.format(toy.ROOT / "sample" / "speech.jsonl"))
    shutil.copy(LISTED.recipes / "acoustic-utterances.toml", made.recipes)
    for run in runs:
        text = (LISTED.recipes / f"{run.name}.toml").read_text().replace("../../runs", "../runs")
        for name, value in SMALLER.items():
            text = re.sub(rf"^{name} = .*", f"{name} = {value}", text, flags=re.MULTILINE)
        (made.recipes / f"{run.name}.toml").write_text(text)
    return made


@pytest.mark.recipe
@pytest.mark.slow
def test_an_acoustic_model_is_taught_trained_on_utterances_and_adapted(tmp_path: Path) -> None:
    queue = acoustic_queue(tmp_path)
    for run in queue.runs:
        make(queue, run)
    assert states(queue) == ["done"] * len(CHAIN)
    student, adapted = (json.loads((queue.results / f"{name}.json").read_text()) for name in CHAIN[-2:])
    assert (student["steps_in_all"], student["dev"]["wer"]["utterances"]) == (4, 2)
    assert {*student["scores"]["all"]["wer"]["against"]} == {"nothing", *CHAIN[:3]}
    assert [(stage["labels"], stage["only"]) for stage in adapted["adapted"]] == [
        (labels, only) for labels in acoustic.LABELS for only in reversed(acoustic.LEARNS)]
    tables = acoustic.AcousticModels(Results(queue.results, toy.ROOT / "benchmarks/full/published.json"))
    assert f"sMBR, p = 0.5 | {student['rows'][-1]['parameters']:,} | {student['bytes']:,} |" in tables.rows()
    assert tables.adaptation().count(MISSING) == 8 and len(tables.page().split("Target")) == 4


# ---- what is left -----------------------------------------------------------------------------------------------


def test_what_is_left_is_estimated_from_what_was_measured(queue: Queue) -> None:
    standings = [status.standing(queue, run) for run in queue.runs]
    assert [one.planned for one in standings] == [3, 4, 3]
    assert status.seconds_left(standings) == (0, ["gcrn", "lstm"])
    progress = queue.directory(TEACHER) / "stages" / "01-train.progress.safetensors"
    save_tensors(progress, {"tally": torch.tensor([1, 2.0, 0, 0, 0], dtype=torch.float64)})
    standings = [status.standing(queue, run) for run in queue.runs]
    assert standings[0].note == "01-train: step 1" and standings[0].steps == 1
    assert status.seconds_left(standings) == (2 * 2.0 + 4 * 2.0, ["lstm"])


# ---- results ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Queue:
    """A teacher and its compression, really made."""
    made = tiny(tmp_path_factory.mktemp("made"))
    make(made, TEACHER)
    make(made, CHILD)
    return made


def test_a_result_says_what_was_made_and_what_it_took(made: Queue) -> None:
    teacher, child = (json.loads((made.results / f"{run.name}.json").read_text()) for run in (TEACHER, CHILD))
    assert made.state(CHILD) == "done"
    assert child["bytes"] == (made.directory(CHILD) / "model.sotto").stat().st_size < teacher["bytes"]
    assert (child["steps"], child["steps_in_all"], teacher["steps_in_all"]) == (4, 7, 3)
    assert child["hours_in_all"] == pytest.approx(7 * 2 * 0.5 / 3600)
    assert child["seconds_in_all"] == pytest.approx(child["seconds"] + teacher["seconds"])
    assert child["multiply_adds"]["nonzero"] < teacher["multiply_adds"]["nonzero"] <= teacher["multiply_adds"]["dense"]
    assert list(child["scores"]) == ["all", "-5 dB", "0 dB", "5 dB"]
    assert list(teacher["scores"]["all"]["si_sdr"]["against"]) == ["noisy"]
    assert child["scores"]["all"]["si_sdr"]["utterances"] == 6


def test_what_a_model_begins_with_is_counted_but_neither_scored_nor_recorded(made: Queue) -> None:
    queue = replace(made, runs=(START, BEGUN))
    for run in queue.runs:
        make(queue, run)
    teacher = json.loads((queue.results / "fdnn-teacher.json").read_text())
    assert queue.state(START) == "done"
    assert not list(queue.results.rglob("fdnn-start*"))
    assert (teacher["steps"], teacher["steps_in_all"]) == (3, 6)
    assert teacher["seconds_in_all"] > teacher["seconds"]


def test_the_time_of_a_stage_that_holds_others_is_theirs() -> None:
    seconds = {"00-start": 1.0, "01-iterate/01.1-prune": 2.0, "01-iterate/01.2-train": 30.0, "01-iterate": 5.0}
    rows = [Row(stage, "any", {}, 0, 0, 0, 0, {}, steps=7, seconds=value) for stage, value in seconds.items()]
    assert spent(rows, 3600.0) == (28, 28.0, 33.0)


def test_the_difference_is_that_of_the_means(made: Queue) -> None:
    scores = shipped_scores(made, CHILD)["si_sdr"]
    child = json.loads((made.results / "gcrn-c1.json").read_text())["scores"]["all"]["si_sdr"]
    assert child["against"]["gcrn-teacher"]["mean"] == pytest.approx(scores["compressed"] - scores["uncompressed"])
    assert child["against"]["noisy"]["mean"] == pytest.approx(scores["compressed"] - scores["noisy"])


def test_nothing_is_scored_twice(made: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    from sottovoce.tasks.enhance import Enhance

    before = (made.results / "gcrn-c1.json").read_bytes()
    monkeypatch.setattr(Enhance, "scores", lambda *_: pytest.fail("scored again"))
    make(made, CHILD)
    record(made, TEACHER)
    assert (made.results / "gcrn-c1.json").read_bytes() == before


def test_what_was_made_elsewhere_is_compared_with(made: Queue, tmp_path: Path) -> None:
    small = FullRun("gcrn-small", "gcrn", "control")
    here = replace(made, runs=(TEACHER, CHILD, small), work=tmp_path / "runs", results=tmp_path / "results")
    shutil.copytree(made.results, here.results)
    shutil.copy(made.recipes / f"{TEACHER.name}.toml", made.recipes / f"{small.name}.toml")
    shutil.copytree(made.directory(TEACHER), here.directory(small))
    record(here, small)
    against = json.loads((here.results / "gcrn-small.json").read_text())["scores"]["all"]["si_sdr"]["against"]
    child = json.loads((here.results / "gcrn-c1.json").read_text())["scores"]["all"]["si_sdr"]
    assert against["gcrn-teacher"]["mean"] == 0
    assert against["gcrn-c1"]["mean"] == pytest.approx(-child["against"]["gcrn-teacher"]["mean"])


def test_a_result_from_elsewhere_is_held_against_what_has_been_made_anew(made: Queue, tmp_path: Path) -> None:
    small = FullRun("gcrn-small", "gcrn", "control")
    here = replace(made, runs=(TEACHER, CHILD, small), work=tmp_path / "runs", results=tmp_path / "results")
    shutil.copytree(made.results, here.results)
    shutil.copy(made.recipes / f"{TEACHER.name}.toml", made.recipes / f"{small.name}.toml")
    for suffix in (".json", "-test.json"):               # as if the teacher's file were the small one's
        folder = here.results / "scores" if suffix == "-test.json" else here.results
        shutil.copy(folder / f"{TEACHER.name}{suffix}", folder / f"{small.name}{suffix}")
    path = here.results / "gcrn-small.json"

    def against() -> dict[str, float]:
        compare_anew(here, small)
        found = json.loads(path.read_text())["scores"]["5 dB"]["si_sdr"]["against"]
        return {name: difference["mean"] for name, difference in found.items()}

    before = against()
    assert before["gcrn-teacher"] == 0 and {*before} == {"noisy", "gcrn-teacher", "gcrn-c1"}
    result, scores = here.results / "gcrn-c1.json", here.results / "scores" / "gcrn-c1-test.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "model_sha256": "anew"}))
    assert against() == before                           # the scores of the new one are not there yet
    kept_now = json.loads(scores.read_text())
    kept_now["scores"]["si_sdr"] = [value + 1 for value in kept_now["scores"]["si_sdr"]]
    scores.write_text(json.dumps({**kept_now, "of": {**kept_now["of"], "model": "anew"}}))
    (here.results / "scores" / "gcrn-teacher-test.json").unlink()
    assert against() == {**before, "gcrn-c1": pytest.approx(before["gcrn-c1"] - 1)}


def test_kept_error_rates_know_their_weight(tmp_path: Path) -> None:
    for _ in range(2):
        (found,) = kept(tmp_path / "test.json", {"list": "one"}, lambda: [{"wer": Rate(1, 3), "si_sdr": 2.5}])
        assert found == {"wer": pytest.approx(100 / 3), "si_sdr": 2.5} and weights_of("wer", [found]) == [3]


def test_a_child_of_another_teacher_is_not_gone_on_with(made: Queue) -> None:
    model = made.directory(TEACHER) / "model.sotto"
    held = model.read_bytes()
    model.write_bytes(held + b"\0")
    try:
        with pytest.raises(SottovoceError, match="began with another gcrn-teacher than there is now"):
            make(made, CHILD)
    finally:
        model.write_bytes(held)


def test_a_page_shows_what_there_is_and_says_what_is_missing(made: Queue) -> None:
    results = Results(made.results, toy.ROOT / "benchmarks/full/published.json")
    child = json.loads((made.results / "gcrn-c1.json").read_text())
    page = results.page()
    assert f"| C1 (work 2) | {child['bytes']:,} |" in page
    assert f"| C2 (work 2) | {MISSING} |" in page and f"## LSTM\n\n{MISSING.capitalize()}." in page
    assert "| C1 (work 2) | 82.12, 79.19 |" in page
    paper = 4 * child["dense_parameters"] / child["paper_bytes"]
    assert f"| GCRN, C1 (work 2) | 34 | {paper:.1f} |" in results.beside("c1")
    assert [row for row in results.beside("sixty").splitlines() if "fewer zeros" in row] \
        == [row for row in results.beside("c1", "sixty").splitlines() if "LSTM, fewer zeros" in row]


def result(times: float, **changes: float) -> dict[str, object]:
    scores = {name: {"against": {"gcrn-teacher": {"mean": change}}} for name, change in changes.items()}
    return {"dense_parameters": 1000, "bytes": 4000 / times, "after": {}, "scores": {"all": scores}}


@pytest.mark.parametrize(("times", "stoi", "pesq", "word"), [
    (41, -0.29, -0.019, "**met**"), (41, -0.31, 0.0, "**not met**"), (41, 0.0, -0.03, "**not met**"),
    (39, 0.1, 0.1, "**not met**"),
])
def test_a_target_is_met_by_size_and_by_quality(times: float, stoi: float, pesq: float, word: str) -> None:
    results = Results(Path("nowhere"), toy.ROOT / "benchmarks/full/published.json")
    found = result(times, stoi=stoi, pesq_nb=0.0, pesq_wb=pesq)
    results.stored = {f"gcrn-{variant}": result(2) for variant in compressed("gcrn")} | {"gcrn-c2": found}
    assert f"Target: 40 times smaller on disk within STOI % -0.3, PESQ-NB -0.02, PESQ-WB -0.02: {word};" \
        in results.verdicts("gcrn")


@pytest.mark.parametrize(("times", "change", "word"), [
    (10.1, -0.29, "**met**"), (10.1, -0.31, "**not met**"), (9.9, 0.0, "**not met**"),
])
def test_an_extraction_target_is_met_by_the_whole_file_and_its_gain(times: float, change: float, word: str) -> None:
    results = Results(Path("nowhere"), toy.ROOT / "benchmarks/full/published.json")
    tables = extraction.Extraction(results, toy.ROOT / "benchmarks/results/tinywase_sizes.json")
    scores = {"si_sdr": {"against": {"wase-teacher": {"mean": change}}}}
    results.stored = {"wase-3bit": {**result(times), "scores": {"all": scores}}}
    first, second = tables.verdicts().splitlines()
    assert first.startswith(f"- Target: 10 times smaller on disk, everything counted, within 0.3 dB SI-SDRi: {word};")
    assert MISSING in second


def acoustic_tables(**rates: float) -> acoustic.AcousticModels:
    """Of models with these word error rates."""
    results = Results(Path("nowhere"), toy.ROOT / "benchmarks/full/published.json")
    named = {"teacher": acoustic.TEACHER, "baseline": acoustic.BASELINE, "student": acoustic.STUDENT}
    results.stored = {named[name]: {"scores": {"all": {"wer": {"mean": rate}}}} for name, rate in rates.items()}
    return acoustic.AcousticModels(results)


@pytest.mark.parametrize(("student", "adapted", "shown"), [
    (43.9, 42.4, ["**met**", "61%", "**met**", "76%"]), (44.1, 42.6, ["**not met**", "59%", "**not met**", "74%"]),
])
def test_what_is_closed_of_the_gap_is_measured_from_the_students_own_errors(
    student: float, adapted: float, shown: list[str],
) -> None:
    tables = acoustic_tables(teacher=40.0, baseline=50.0, student=student)
    stage = {"labels": "teacher", "only": "*gate*", "after": {"wer": adapted}}
    tables.results.stored["hdnn-h128-skd-smbr-adapt"] = {"adapted": [stage]}
    first, second, third = tables.verdicts().splitlines()
    assert re.findall(r"\*\*.*?\*\*|\d+%(?=;|$)", f"{first}\n{second}", re.MULTILINE) == shown and MISSING in third
    assert MISSING in acoustic_tables(teacher=50.0, baseline=40.0, student=45.0).verdicts().splitlines()[0]


@pytest.mark.parametrize(("size", "rise", "word"), [
    (400_000, 0.5, "**met**"), (400_001, 0.0, "**not met**"), (300_000, 0.6, "**not met**"),
])
def test_the_small_student_is_judged_by_its_file_and_its_errors(size: int, rise: float, word: str) -> None:
    tables = acoustic_tables(student=45.0)
    against = {acoustic.STUDENT: {"mean": rise, "low": rise, "high": rise}}
    tables.results.stored[acoustic.COMPRESSED] = {"bytes": size, "scores": {"all": {"wer": {"against": against}}}}
    assert f"word errors +0.5 at most: {word}; {size:,} bytes" in tables.verdicts()


@pytest.mark.parametrize(("low", "high", "word"), [
    (-2.0, -0.1, "**holds**"), (-2.0, 0.1, "not told apart"), (0.1, 2.0, "**does not hold**"),
])
def test_what_is_expected_holds_where_the_interval_says_so(low: float, high: float, word: str) -> None:
    tables = acoustic_tables()
    against = {"dnn-h512": {"mean": (low + high) / 2, "low": low, "high": high}}
    tables.results.stored["hdnn-h512"] = {"scores": {"all": {"wer": {"against": against}}}}
    (row,) = [line for line in tables.orders().splitlines() if line.startswith("| highway before plain, 512 units |")]
    assert f"| {word} | -0.8 |" in row


def test_all_that_is_expected_is_measured() -> None:
    for _, better, worse in acoustic.expected():
        assert worse in {*LISTED.by_name[better].after, LISTED.teacher(LISTED.by_name[better]).name}


def test_a_result_of_an_earlier_teacher_is_not_shown() -> None:
    results = Results(Path("nowhere"), toy.ROOT / "benchmarks/full/published.json")
    child = {**result(50), "after": {"gcrn-teacher": "old"}}
    results.stored = {"gcrn-teacher": {"model_sha256": "new"}, "gcrn-c1": child}
    assert results.get("gcrn-c1") is None
    change = {"mean": 1.0, "low": 0.0, "high": 2.0}
    small = {**result(100), "scores": {"all": {"stoi": {"against": {"gcrn-c1": change}}}}}
    results.stored |= {"gcrn-small": small, "gcrn-teacher": {**result(100), "model_sha256": "new"}}
    assert "+1.000 (+0.000 .. +2.000)" not in results.small()        # nor is anything held against it
    child["after"] = {"gcrn-teacher": "new"}
    assert "| +1.000 (+0.000 .. +2.000) |" in results.small()


def test_the_documents_show_the_stored_results() -> None:
    assert (toy.ROOT / "benchmarks" / "RESULTS.md").read_text() == pages.results_page()
    known, shown = pages.tables(), set()
    for path in pages.DOCUMENTS:
        text = path.read_text()
        assert pages.filled(text, known) == text, f"{path}: run make full-results"
        shown |= {found["name"] for found in pages.MARKED.finditer(text)}
    assert shown == set(known)


@pytest.mark.parametrize(("page", "number"), [("work-1", 0), ("work-2", 0), ("work-2", 1)])
def test_a_recipe_to_copy_is_sound(page: str, number: int, tmp_path: Path) -> None:
    text = re.findall(r"```toml\n(.*?)```", (toy.ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)[number]
    if page == "work-1":
        assert len(parse_recipe(text, page, tmp_path, "mine").stages) == 3
    else:
        assert len(parse_stages(tomllib.loads(text)["stages"], page, tmp_path)) == 2
