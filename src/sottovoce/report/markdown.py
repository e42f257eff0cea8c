"""The tables of a story as Markdown, for a terminal or a results file."""

from collections.abc import Iterable, Sequence

from sottovoce import scales
from sottovoce.report import quality, words
from sottovoce.report.story import Story


def render_markdown(story: Story) -> str:
    """Headline, before/after table and ledger; what the story lacks is left out."""
    parts = [
        f"**{words.times(story.times_smaller)} smaller**: {words.size(story.plain_bytes)} of float32 weights,"
        f" {words.size(story.file_bytes)} on disk ({story.title})"
    ]
    if story.comparison:
        parts.append(_comparison(quality.lines(story.comparison.get("metrics", {})), story.given))
    if story.rows:
        parts.append(_ledger(story))
    return "\n\n".join(parts) + "\n"


def _comparison(lines: Sequence[quality.Quality], given: str) -> str:
    def row(line: quality.Quality) -> list[str]:
        values, finer = line.metric.decimals, line.metric.decimals + 1
        return [
            f"{line.metric.label} {line.metric.unit}".strip(),
            words.number(line.noisy, values),
            words.number(line.uncompressed, values),
            words.number(line.compressed, values),
            words.signed(line.difference, finer),
            f"{words.signed(line.low, finer)} to {words.signed(line.high, finer)}",
        ]

    return _table(
        ["metric", given, "uncompressed", "compressed", "difference", "95 % interval"], map(row, lines)
    )


def _ledger(story: Story) -> str:
    present = {name for row in story.rows for name in row["metrics"]}
    names = [name for name in scales.METRICS if name in present]
    head = ["stage", "bytes", "nonzeros", *(scales.metric(name).label for name in names), "steps", "time"]
    return _table(
        head,
        (
            [
                row["stage"],
                words.size(row["bytes"]),
                words.number(row["nonzeros"], 0),
                *(words.number(row["metrics"].get(name), scales.metric(name).decimals) for name in names),
                words.number(row["steps"], 0),
                words.duration(row["seconds"]),
            ]
            for row in story.rows
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column left, numbers right; a bar in a name is escaped."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
