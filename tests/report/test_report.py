"""What a report says, whatever it looks like."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sottovoce.report import Example, Story, render, render_markdown, words
from sottovoce.report.heat import heat_map
from sottovoce.report.plots import Point, settled, size_against_quality
from sottovoce.report.quality import lines

Without = Callable[..., Story]
PARTS = {"rows": (), "comparison": None, "tensors": (), "examples": (), "recipe": "", "environment": {}}
SECTIONS = {
    "rows": ("stages", "sensitivity", "ledger"),
    "comparison": ("quality",),
    "tensors": ("layers", "untouched"),
    "examples": ("listen",),
    "recipe": ("recipe",),
    "environment": ("environment",),
}


def sections(page: str) -> set[str]:
    return set(re.findall(r'<section[^>]* id="(\w+)"', page))


def test_equal_stories_give_equal_pages(story: Story) -> None:
    assert render(story) == render(story)


def test_sections_come_in_the_order_of_the_argument(story: Story) -> None:
    order = re.findall(r'<section[^>]* id="(\w+)"', render(story))
    assert order == [
        "result",
        "quality",
        "stages",
        "sensitivity",
        "layers",
        "listen",
        "untouched",
        "recipe",
        "ledger",
        "environment",
    ]


@pytest.mark.parametrize("part", PARTS)
def test_what_the_story_lacks_is_left_out(story: Story, without: Without, part: str) -> None:
    page = render(without(**{part: PARTS[part]}))
    assert sections(page) == sections(render(story)) - set(SECTIONS[part])
    assert not [target for target in re.findall(r'href="#(\w+)"', page) if f'id="{target}"' not in page]


def test_the_least_story_is_a_headline(bare_story: Story) -> None:
    assert sections(render(bare_story)) == {"result"}
    assert "0.95×" in render(bare_story)  # noqa: RUF001


def test_one_row_is_a_ledger_without_a_drawing(story: Story, without: Without) -> None:
    page = render(without(rows=story.rows[:1]))
    assert "ledger" in sections(page) and "stages" not in sections(page)


def test_rows_may_lack_metrics(story: Story, without: Without) -> None:
    unscored = {**story.rows[1], "metrics": {}}
    assert "ledger" in sections(
        render(without(rows=[story.rows[0], unscored, {**story.rows[2], "metrics": {"stoi": float("nan")}}]))
    )


def test_what_users_write_stays_text(story: Story, without: Without) -> None:
    hostile = '<script>alert("x")</script>'
    wave = story.examples[0].noisy
    page = render(
        without(
            title=hostile,
            recipe=hostile,
            environment={hostile: hostile},
            rows=[{**row, "stage": hostile} for row in story.rows],
            examples=[Example(hostile, hostile, 16000, wave, wave, wave)],
        )
    )
    assert page.count("<script>") == 1 and hostile not in page


def test_three_examples_of_five_seconds_stay_below_four_megabytes(story: Story, without: Without) -> None:
    def longer(wave: np.ndarray) -> np.ndarray:
        return np.resize(wave, 5 * 16000)

    noisy = story.examples[0]
    sides = (noisy.noisy, noisy.uncompressed, noisy.compressed, noisy.clean)
    example = Example("five seconds", "", 16000, *map(longer, sides))
    assert len(render(without(examples=[example] * 3))) < 4e6


def test_silence_and_clipping_are_drawn_too(without: Without) -> None:
    silent, loud = np.zeros(16000, np.float32), 3 * np.ones(16000, np.float32)
    page = render(without(examples=[Example("odd", "", 16000, loud, silent, silent)]))
    assert page.count("<audio") == 3


def test_the_bytes_of_the_table_add_up_to_the_file(story: Story) -> None:
    assert "3.02 kB (2.1 % of the file)" in render(story)


def test_a_smaller_tensor_is_shown_beside_what_it_was(story: Story, without: Without) -> None:
    first, *rest = story.tensors
    full = (2 * first.shape[0], *first.shape[1:])
    page = render(without(tensors=[replace(first, full_shape=full), *rest]))
    sizes = (" \N{MULTIPLICATION SIGN} ".join(map(str, shape)) for shape in (first.shape, full))
    assert " of ".join(sizes) in page


def test_multiply_adds_are_a_column_unless_the_ledger_is_too_old_to_have_them(story: Story, without: Without) -> None:
    assert f'data-label="Mult-adds">{words.amount(story.rows[-1]["multiply_adds"])}<' in render(story)
    old = [{key: value for key, value in row.items() if key != "multiply_adds"} for row in story.rows]
    assert "Mult-adds" not in render(without(rows=old))


@pytest.mark.parametrize(("count", "text"), [(None, words.DASH), (812, "812"), (999_700, "1.00 M"), (3.63e9, "3.63 G")])
def test_amounts_have_three_figures(count: float | None, text: str) -> None:
    assert words.amount(count) == text


def test_markdown_has_the_headline_and_both_tables(story: Story, bare_story: Story) -> None:
    text = render_markdown(story)
    assert text.startswith("**28.2× smaller**")  # noqa: RUF001
    line = story.comparison["metrics"]["si_sdr"]
    assert f"| SI-SDR dB | {line['noisy']:.2f} | {line['uncompressed']:.2f} |" in text
    assert "| 08-distill | 129 kB | 139,440 |" in text
    assert len(render_markdown(bare_story).splitlines()) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (14_210, "14.2 kB"),
        (999_400, "999 kB"),
        (999_900, "1.00 MB"),
        (120_869_508, "121 MB"),
        (None, words.DASH),
    ],
)
def test_sizes_have_three_figures(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "+0.012"),
        (-0.0123, f"{words.MINUS}0.012"),
        (-0.0001, "0.000"),
        (0.0, "0.000"),
        (float("nan"), words.DASH),
    ],
)
def test_signs_are_shown_unless_it_rounds_to_zero(value: float, text: str) -> None:
    assert words.signed(value, 3) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (None, words.DASH),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_what_was_reached_at_each_size_is_the_last_stage_there() -> None:
    assert settled([400, 200, 200, 100, 101, 40, 41]) == [0, 2, 4, 6]


def test_the_share_of_the_gain_is_told_only_where_the_gain_is_certain() -> None:
    line = {"noisy": 1.0, "uncompressed": 2.0, "compressed": 1.9, "difference": -0.1, "low": -0.2, "high": 0}
    certain, doubtful = {**line, "gain": {"low": 0.8}}, {**line, "gain": {"low": -0.1}}
    assert lines({"stoi": certain})[0].kept == pytest.approx(0.9)
    assert lines({"stoi": doubtful})[0].kept is None


def test_of_error_rates_lower_is_better(bare_story: Story) -> None:
    line = {"noisy": 100.0, "uncompressed": 10.0, "compressed": 19.0, "difference": 9.0, "low": 8.0, "high": 10.0}
    certain, doubtful = {**line, "gain": {"low": -95.0, "high": -80.0}}, {**line, "gain": {"low": -95.0, "high": 1.0}}
    assert lines({"per": certain})[0].kept == pytest.approx(0.9)
    assert lines({"per": doubtful})[0].kept is None
    assert dict(lines({"per": certain})[0].places) == {"noisy": 0, "uncompressed": 100, "compressed": 90}
    page = render(replace(bare_story, comparison={"metrics": {"per": certain, "stoi": line}, "groups": {}}))
    assert "Lower is better of PER;" in page and "Higher is better everywhere" not in page


@pytest.mark.parametrize(("metric", "highest_first"), [("stoi", True), ("per", False)])
def test_better_lies_up(metric: str, highest_first: bool) -> None:
    drawing = size_against_quality(metric, [Point(0, 4e6, 20.0), Point(1, 1e6, 30.0)])
    ticks = re.findall(r' y="([0-9.]+)"[^>]*>([0-9.]+) %<', drawing)
    ranked = [float(score) for _, score in sorted(ticks, key=lambda tick: float(tick[0]))]
    assert ranked == sorted(ranked, reverse=highest_first) and len(ranked) > 2


def test_undefined_scores_are_dashes_and_are_counted(bare_story: Story) -> None:
    empty = dict.fromkeys(("noisy", "uncompressed", "compressed", "difference", "low", "high"))
    line = {**empty, "gain": dict.fromkeys(("mean", "low", "high")), "utterances": 0, "undefined": 4}
    page = render(replace(bare_story, comparison={"metrics": {"stoi": line}, "groups": {}}))
    assert "4 without STOI" in page and words.DASH in page and not re.search(r"\b(None|nan)\b", page)


def test_the_heat_map_has_a_cell_for_every_evaluation_and_a_ring_for_every_choice(story: Story) -> None:
    row = next(row for row in story.rows if "sensitivity" in row["details"])
    found, tolerance = row["details"]["sensitivity"], row["settings"]["tolerance"]
    drawing = heat_map(found, tolerance)
    within = [rise for _, _, rise in found["evaluated"] if rise <= tolerance]
    assert drawing in render(story)
    assert drawing.count("<rect") == len(found["evaluated"])
    assert drawing.count('class="within"') == len(within)
    assert drawing.count("<circle") == len(found["ratios"])
    assert all(f">{name}</text>" in drawing for name in found["ratios"])
    rings = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', drawing)]
    assert rings == sorted(rings, reverse=True) and len(set(rings)) == len(rings)


def test_a_higher_rise_is_drawn_stronger(story: Story) -> None:
    rises = {0.1: -1.0, 0.2: 1e-3, 0.3: 1e-2, 0.4: 1.0, 0.5: float("inf")}
    evaluated = [("a", ratio, rise) for ratio, rise in rises.items()]
    drawing = heat_map({"ratios": {"a": 0.2}, "evaluated": evaluated}, None)
    opacities = [float(opacity) for opacity in re.findall(r'fill-opacity="([0-9.]+)"', drawing)]
    assert opacities == sorted(opacities) and opacities[0] < opacities[2] < opacities[3] == opacities[4] == 1


def test_a_tensor_of_any_name_stays_text() -> None:
    assert "<script" not in heat_map({"ratios": {"<script>": 0.5}, "evaluated": [("<script>", 0.5, 0.1)]}, 0.2)
