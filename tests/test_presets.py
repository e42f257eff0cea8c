"""What is said of how zeros lie: a row and a dot for all that was measured, recipes that are sound."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import toy

from sottovoce.recipe import parse_recipe, read_recipe
from sottovoce.run import Run

sys.path.insert(0, str(toy.ROOT / "benchmarks"))
import presets
from full.presets import GROUPS, Presets, picture
from full.tables import MISSING


def row(groups: str, rate: float, microseconds: float) -> dict[str, Any]:
    change = {"mean": -0.05, "low": -0.06, "high": -0.04}
    against = {"uncompressed": change} if groups else {}
    return {"groups": groups, "rate": rate, "zeros": rate, "bytes": 1000 + int(microseconds), "weight_bytes": 5000,
            "microseconds": microseconds, "speedup": 9.0, "speedup_10": 8.0, "speedup_90": 10.0,
            "scores": {metric: {"mean": 2.0, "against": against} for metric in presets.METRICS}}


RESULT = {"missing": ["gcrn"], "models": {"lstm": {"variants": {
    name: row(groups, rate, 90.0) for name, groups, rate in presets.variants()}}}}


def stored(folder: Path) -> Presets:
    (folder / "presets.json").write_text(json.dumps(RESULT))
    return Presets(folder / "presets.json")


def test_every_variant_has_a_row(tmp_path: Path) -> None:
    rows = stored(tmp_path).table().splitlines()[2:]
    assert len(rows) == len(list(presets.variants())) + 1
    assert rows[0] == "| LSTM, uncompressed | 0.0 % | 1,090 | 5,000 | 90 | 9.0 (8.0 .. 10.0) |  |  |  |"
    assert rows[-2].startswith("| LSTM, blocks of 16 rows | 90.0 % |") and "-0.050 (-0.060 .. -0.040)" in rows[-2]
    assert rows[-1].startswith(f"| GCRN | {MISSING} |")


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    nothing = Presets(tmp_path / "presets.json")
    assert nothing.shown() == f"{MISSING.capitalize()}." and MISSING.capitalize() in nothing.page()


def test_the_picture_is_light_and_dark_and_has_all_groups() -> None:
    drawn = picture(RESULT)
    ElementTree.fromstring(drawn)
    assert "prefers-color-scheme: dark" in drawn and not re.search("#0[1-8]0", drawn)
    for groups in GROUPS:
        assert f"var(--{groups})" in drawn
    assert drawn == picture(RESULT)


@pytest.mark.parametrize(("family", "source"), presets.MODELS.items(), ids=presets.MODELS)
def test_recipes_differ_in_nothing_but_how_zeros_lie(family: str, source: presets.Source, tmp_path: Path) -> None:
    recipes = [presets.recipe_of("one", source, groups, 0.9, tmp_path) for groups in presets.GROUPS]
    assert {kind for recipe in recipes for kind, _ in recipe.stages} == {"iterate", "cluster", "half", "distill"}
    assert len({recipe.text.replace(groups, "") for groups, recipe in zip(presets.GROUPS, recipes, strict=True)}) == 1
    assert all(recipe.model.checkpoint == source.checkpoint for recipe in recipes)
    assert presets.recipe_of("one", source, "", 0.0, tmp_path).stages == ()


def test_the_recipes_of_the_page_are_sound(tmp_path: Path) -> None:
    head = f'[model]\nname = "lstm"\n{toy.TASK.replace("LISTS", str(tmp_path))}'
    shown = re.findall(r"```toml\n(.*?)```", (toy.ROOT / "docs" / "engine.md").read_text(), re.DOTALL)
    recipes = [parse_recipe(head + stages, "engine.md", toy.ROOT / "sample") for stages in shown]
    assert [stage.groups for recipe in recipes for _, stage in recipe.stages] == list(presets.GROUPS)  # type: ignore


@pytest.mark.recipe
def test_a_tiny_model_goes_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sottovoce._engine", reason="the engine was not compiled")
    monkeypatch.setattr(presets, "RATES", (0.5,))
    monkeypatch.setattr(presets, "LAST", 2)
    task = toy.TASK.replace('path = "', f'path = "{toy.ROOT}/sample/').replace("LISTS", str(tmp_path))
    test = task[task.index("[task.dev]"):].replace("dev", "test").replace("[5]", "[0, 5]")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(f'name = "tiny"\n[model]\nname = "lstm"\nhidden = 16\nlayers = 1\n{task}{test}\n')
    Run(read_recipe(recipe), tmp_path / "trained").start()
    here = presets.Source(recipe, tmp_path / "trained" / "stages" / "00-start.safetensors", 2, 3e-4, "fp32")
    absent = here._replace(checkpoint=tmp_path / "absent.safetensors")
    result = presets.measure({"lstm": here, "gcrn": absent}, tmp_path / "presets", {}, mixtures=3, rounds=1)
    told = result["models"]["lstm"]
    assert result["missing"] == ["gcrn"] and told["mixtures"] == 3
    assert list(told["variants"]) == ["uncompressed", *(f"{groups}-50" for groups in presets.GROUPS)]
    for name, variant in list(told["variants"].items())[1:]:
        assert variant["zeros"] == pytest.approx(0.5, abs=0.1), name
        assert variant["bytes"] < told["variants"]["uncompressed"]["bytes"] and variant["microseconds"] > 0
        assert set(variant["scores"]) == set(presets.METRICS)
    (tmp_path / "presets.json").write_text(json.dumps(result))
    assert len(Presets(tmp_path / "presets.json").table().splitlines()) == 2 + 4 + 1
    ElementTree.fromstring(picture(result))
    # What another machine of the kind once measured stays where there is nothing to measure, and only then.
    gone, elsewhere = here._replace(checkpoint=absent.checkpoint), {**result, "cpu": "another"}
    for before, kept in ((result, {"lstm": told}), (elsewhere, {})):
        again = presets.measure({"lstm": gone, "gcrn": absent}, tmp_path / "presets", before)
        assert again["models"] == kept and again["missing"] == ["lstm", "gcrn"][len(kept) :]
