"""A recipe is checked at the door: every mistake is one line that says where it is and what was wanted."""

from dataclasses import replace
from pathlib import Path

import pytest
import toy

from sottovoce.errors import RecipeError, SottovoceError
from sottovoce.recipe import parse_recipe, read_recipe

GOOD = f'[model]\nname = "lstm"\nhidden = 8\n{toy.TASK}'.replace("LISTS", "lists")


def parse(text: str) -> object:
    return parse_recipe(text, "r.toml", toy.ROOT / "sample")


def stage(text: str) -> str:
    return f"{GOOD}\n[[stages]]\n{text}"


WRONG = [
    ("", "r.toml: expected a table [model], got None"),
    ("x = ", "r.toml: not TOML"),
    ("stges = []\n" + GOOD, "r.toml: unknown key 'stges', did you mean 'stages'?"),
    ("seed = -1\n" + GOOD, "r.toml: seed: expected a whole number below 2^31, 0 or more, got -1"),
    (GOOD.replace('"lstm"', '"lstn"'), "r.toml: model: name: unknown 'lstn', did you mean 'lstm'?"),
    (GOOD.replace("hidden = 8", "hiden = 8"), "r.toml: model: unknown key 'hiden', did you mean 'hidden'?"),
    (GOOD.replace("hidden = 8", "hidden = 0"), "r.toml: model: hidden must be 1..16384 and layers 1..64, got 0 and 4"),
    (GOOD.replace("hidden = 8", "hidden = 8.5"), "r.toml: model: hidden: expected a whole number, got 8.5"),
    (GOOD.replace("batch = 2", 'batch = "2"'), "r.toml: task: batch: expected a whole number, got '2'"),
    (GOOD.replace("seconds = 0.5 }", "seconds = -1 }"),
     "r.toml: task: mixing: seconds must be above 0 and at most 600, got -1.0"),
    (GOOD.replace('["si_sdr"]', '["sisdr"]'), "r.toml: task: dev: metrics: unknown 'sisdr'"),
    (GOOD.replace("hidden = 8", "hidden = 1000000000"), "r.toml: model: hidden must be 1..16384"),
    (GOOD.replace("hidden = 8", "level_seconds = nan"), "r.toml: model: level_seconds must be 0..1e6, got nan"),
    ("seed = 99999999999999999999999\n" + GOOD, "r.toml: seed: expected a whole number below 2^31"),
    ('name = "../x"\n' + GOOD, "r.toml: name: expected letters, digits, '.', '_' and '-', got '../x'"),
    (GOOD.replace("per_snr = 2", "per_snr = 0"), "r.toml: task: dev: per_snr must be at least 1, got 0"),
    (GOOD.replace("snr_db = [5]", "snr_db = []"), "r.toml: task: dev: snr_db: expected at least one finite number"),
    (GOOD.replace("snr_db = [5]", "snr_db = [nan]"), "r.toml: task: dev: snr_db: expected at least one finite number"),
    (GOOD.replace("seconds = 0.5 }", "snr_db = [nan, 5] }"), "r.toml: task: mixing: snr_db must be (low, high)"),
    (GOOD.replace("seconds = 0.5 }", "seconds = inf }"), "r.toml: task: mixing: seconds must be above 0 and at"),
    (stage('kind = "prun"'), "r.toml: stage 1: kind: unknown 'prun', did you mean 'prune'?"),
    (stage('kind = "prune"'), "r.toml: stage 1 (prune): give either ratio or tolerance"),
    (stage('kind = "prune"\nratio = 1.5'), "r.toml: stage 1 (prune): ratio must be between 0 and 1, got 1.5"),
    (stage('kind = "prune"\nratio = nan'), "r.toml: stage 1 (prune): ratio must be between 0 and 1, got nan"),
    (stage('kind = "prune"\nratoi = 0.5'), "r.toml: stage 1 (prune): unknown key 'ratoi', did you mean 'ratio'?"),
    (stage('kind = "train"'), "r.toml: stage 1 (train): steps is missing"),
    (stage('kind = "train"\nsteps = 5\nlr = 0'), "r.toml: stage 1 (train): lr must be between 0 and 1, got 0.0"),
    (stage('kind = "train"\nsteps = 5\nl1 = -1'),
     "r.toml: stage 1 (train): l1 must be a number, 0 or more, or 'auto', got -1.0"),
    (stage('kind = "distill"\nsteps = 5\nteacher = "me"'),
     "r.toml: stage 1 (distill): teacher: expected one of dense, previous, got 'me'"),
    (stage('kind = "cluster"\nvalues = 1'), "r.toml: stage 1 (cluster): values must be 2..4096, got 1"),
    (stage('kind = "iterate"'), "r.toml: stage 1 (iterate): stages: expected at least one stage"),
    (stage('kind = "iterate"\nsize = "3 lbs"\nstages = [{kind = "prune", ratio = 0.5}]'),
     "r.toml: stage 1 (iterate): size: expected a number and one of B, kB"),
    (stage('kind = "iterate"\nstages = [{kind = "prune", ratio = 7}]'),
     "r.toml: stage 1 (iterate): stage 1 (prune): ratio must be between 0 and 1, got 7.0"),
    (stage('kind = "iterate"\nmax_drop = {stoi = "x"}\nstages = [{kind = "prune", ratio = 0.5}]'),
     "r.toml: stage 1 (iterate): max_drop: stoi must be a number, 0 or more, got 'x'"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message[8:50] for _, message in WRONG])
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: no such recipe"):
        read_recipe(tmp_path / "none.toml")


def test_a_recipe_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="expected a TOML file"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize("path", sorted((toy.ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_recipe_is_sound(path: Path) -> None:
    assert read_recipe(path).stages


def test_a_run_directory_belongs_to_one_recipe(tmp_path: Path) -> None:
    from sottovoce.run import Run

    Run(toy.recipe("", tmp_path), tmp_path / "run").start()
    with pytest.raises(SottovoceError, match="holds a run of another recipe"):
        Run(toy.recipe(toy.stage_table("prune"), tmp_path), tmp_path / "run")


def parts(tmp_path: Path, model: str, **files: str) -> Path:
    """A recipe in a folder of its own, whose task and model are in files of another one."""
    other = tmp_path / "parts"
    other.mkdir()
    task = GOOD[GOOD.index("[task]"):].replace('path = "', f'path = "{toy.ROOT}/sample/')
    texts = {"task": task, "lstm": '[model]\nname = "lstm"\nhidden = 8\ncheckpoint = "w.st"', **files}
    for name, text in texts.items():
        (other / f"{name}.toml").write_text(text)
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "r.toml"
    path.write_text(f'task = "../parts/task.toml"\n{model}\n')
    return path


def test_parts_of_a_recipe_may_lie_in_files(tmp_path: Path) -> None:
    recipe = read_recipe(parts(tmp_path, 'model = "../parts/lstm.toml"'))
    assert recipe.model.config.hidden == 8
    assert recipe.model.checkpoint == tmp_path / "parts" / "w.st"
    assert recipe.task.dev.plans == tmp_path / "parts" / "lists" / "dev.jsonl"


def test_a_model_from_a_file_may_be_changed(tmp_path: Path) -> None:
    more = '[model]\nfrom = "lstm.toml"\nhidden = 16\nlayers = 2'
    path = parts(tmp_path, '[model]\nfrom = "../parts/more.toml"\nlayers = 3\ncheckpoint = "other.st"', more=more)
    recipe = read_recipe(path)
    assert (recipe.model.config.hidden, recipe.model.config.layers) == (16, 3)
    assert recipe.model.checkpoint == tmp_path / "recipes" / "other.st"


def test_a_task_from_a_file_may_be_changed(tmp_path: Path) -> None:
    more = '[task]\nfrom = "task.toml"\nloss_on = "waveform"\n[task.dev]\nper_snr = 7'
    path = parts(tmp_path, '[model]\nname = "lstm"', more=more)
    before = read_recipe(path).task
    path.write_text(path.read_text().replace("task.toml", "more.toml"))
    task = read_recipe(path).task
    assert task.loss_on == "waveform" != before.loss_on
    assert task.dev == replace(before.dev, per_snr=7) != before.dev       # the rest of a table stays
    assert task.dev.plans == tmp_path / "parts" / "lists" / "dev.jsonl" and task.speech.path.is_file()


def test_a_change_in_an_included_file_makes_another_run(tmp_path: Path) -> None:
    from sottovoce.run import Run

    path = parts(tmp_path, '[model]\nfrom = "../parts/more.toml"', more='[model]\nname = "lstm"\nhidden = 8')
    Run(read_recipe(path), tmp_path / "run").start()
    for name in ("task", "more"):
        file = tmp_path / "parts" / f"{name}.toml"
        text = file.read_text()
        file.write_text(text + "\n# changed\n")
        with pytest.raises(SottovoceError, match="holds a run of another recipe"):
            Run(read_recipe(path), tmp_path / "run")
        file.write_text(text)
    Run(read_recipe(path), tmp_path / "run")


@pytest.mark.parametrize(("model", "message"), [
    ('model = "none.toml"', "recipes/r.toml: model: {}/recipes/none.toml: no such file"),
    ('[model]\nfrom = 3', "recipes/r.toml: model: from: expected a path, got 3"),
    ('model = "../parts/one.toml"', "recipes/../parts/two.toml: model: one.toml includes itself"),
    ('model = "../parts/bare.toml"', "recipes/../parts/bare.toml: unknown key 'hidden'; there are: model"),
    ('model = "../parts/empty.toml"', "recipes/../parts/empty.toml: expected a table [model], got None"),
    ('model = "../parts/broken.toml"', "recipes/../parts/broken.toml: not TOML"),
    ('model = "../parts/typo.toml"', "recipes/../parts/typo.toml: model: unknown key 'hiden'"),
])
def test_a_mistake_in_an_included_file_is_named(model: str, message: str, tmp_path: Path) -> None:
    path = parts(tmp_path, model, one='[model]\nfrom = "two.toml"', two='[model]\nfrom = "one.toml"',
                 bare="hidden = 8", empty="", broken="x = ", typo='[model]\nname = "lstm"\nhiden = 8')
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{tmp_path}/{message.format(tmp_path)}")
