"""Lists of files as users write them: CSV, a line a file, its columns named in the first."""

import csv
from collections.abc import Mapping
from pathlib import Path

from sottovoce.errors import DataError


def rows_of(table: Path, *columns: str) -> list[dict[str, str]]:
    """The lines, by column: those named and any others, such as output. An empty cell of another is "".

    Raises DataError for a table that cannot be read, has none of those columns or no lines, or an empty cell in one.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            there_are = reader.fieldnames or []
            rows = [(f"{table}, line {reader.line_num}", row) for row in reader]
    except OSError as error:
        raise DataError(f"{table}: expected a CSV file, got: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{table}: expected a CSV file, got unreadable data ({error})") from None
    if not set(columns) <= set(there_are):
        wanted = f"expected the columns {', '.join(columns)} and maybe output"
        raise DataError(f"{table}: {wanted}, got {', '.join(there_are) or 'none'}")
    if not rows:
        raise DataError(f"{table}: expected a line for each {columns[0]}, got none")
    return [_row(place, row, columns) for place, row in rows]


def _row(place: str, row: Mapping[str, str | None], columns: tuple[str, ...]) -> dict[str, str]:
    for column in columns:
        if not row[column]:
            raise DataError(f"{place}: expected a file in the column {column}, got none")
    return {column: cell or "" for column, cell in row.items() if column}        # none where a line is too long
