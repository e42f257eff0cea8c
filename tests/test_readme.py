"""What the README says is what there is."""

import re
import sys
from pathlib import Path

import pytest
import toy

from sottovoce.recipe import parse_recipe

README = (toy.ROOT / "README.md").read_text()


def test_its_commands_are_targets_of_the_makefile() -> None:
    makefile = (toy.ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake (\w+)", README))
    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_its_recipe_is_sound(page: str, tmp_path: Path) -> None:
    text, *more = re.findall(r"```toml\n(.*?)```", (toy.ROOT / page).read_text(), re.DOTALL)
    recipe = parse_recipe(text, page, tmp_path, "mine")
    assert [kind for kind, _ in recipe.stages] == ["iterate"]
    for stages in more:
        assert len(parse_recipe(text + stages, page, tmp_path, "mine").stages) > 1


def test_its_table_is_the_measured_one() -> None:
    sys.path.insert(0, str(toy.ROOT / "benchmarks"))
    from full.enhanced import Enhanced

    enhanced = Enhanced(toy.ROOT / "benchmarks" / "results")
    assert f"<!-- table of the quick start -->\n{enhanced.short('quickstart')}\n<!-- end of the table -->" in README
    assert enhanced.page() in (toy.ROOT / "benchmarks" / "RESULTS.md").read_text()


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (toy.ROOT / "docs").glob("*.md"))])
def test_what_it_links_to_is_there(page: str) -> None:
    path = toy.ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
