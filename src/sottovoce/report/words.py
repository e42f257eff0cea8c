"""How numbers are written for a reader; a missing number is a dash."""

import math
from collections.abc import Callable

DASH = "–"  # noqa: RUF001
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, decimals: int = 2) -> str:
    """1234.5 -> "1,234.50" with a true minus sign."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def signed(value: float | None, decimals: int = 2) -> str:
    """As `number`, with its sign always shown; what rounds to zero has none."""
    text = number(value, decimals)
    if text == DASH or not text.strip(f"{MINUS}0.,"):
        return text.removeprefix(MINUS)
    return text if text.startswith(MINUS) else f"+{text}"


def size(count: float | None) -> str:
    """Bytes in decimal units and three figures: "7.41 MB", "193 kB", "812 B"."""
    if count is None:
        return DASH
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{three_figures(count / scale)} {unit}"
    return f"{count:.0f} B"


def amount(count: float | None) -> str:
    """A large number with three figures: "12.1 G", "302 M", "41.2 k", "812"."""
    if count is None:
        return DASH
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * scale:
            return f"{three_figures(count / scale)} {unit}"
    return f"{count:.0f}"


def times(ratio: float | None) -> str:
    """A factor with three figures at most: "38.4x" with the true sign."""
    return DASH if ratio is None else f"{three_figures(ratio)}\N{MULTIPLICATION SIGN}"


def percent(share: float | None, decimals: int = 1) -> str:
    """0.283 -> "28.3 %"."""
    return DASH if share is None else f"{number(100 * share, decimals)} %"


def duration(seconds: float | None) -> str:
    """"0.4 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def three_figures(value: float) -> str:
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


Format = Callable[..., str]
FILTERS: dict[str, Format] = {
    "number": number,
    "signed": signed,
    "size": size,
    "times": times,
    "amount": amount,
    "percent": percent,
    "duration": duration,
}
