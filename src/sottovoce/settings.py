"""Tables of a TOML file to frozen dataclasses: every key known, every value of its type, or an error that says so."""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sottovoce.errors import RecipeError


def from_table(cls: type, table: object, where: str, base: Path, ready: Mapping[str, Any] | None = None) -> Any:
    """An instance of the dataclass `cls` from a table; paths in it are taken relative to `base`.

    `ready` holds fields that are already values.

    Raises RecipeError naming `where` and the field: unknown key, missing key, wrong type, or a value that the
    dataclass itself refuses with ValueError.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where}: expected a table, got {table!r}")
    ready = ready or {}
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in ready}
    for key in table:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key {key!r}{suggestion(key, fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise RecipeError(f"{where}: {name} is missing")
    hints = get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{where}: {key}", base) for key, value in table.items()} | dict(ready)
    try:
        return cls(**values)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from None


def suggestion(name: str, known: Any) -> str:
    """What may have been meant, or what there is, as the end of a sentence."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


def _value(kind: Any, value: Any, where: str, base: Path) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:        # of JSON; TOML has none
            return None
        words = [word for part in arguments if get_origin(part) is Literal for word in get_args(part)]
        if value in words:
            return value
        kind = next(part for part in arguments if part is not type(None))
        return _value(kind, value, where, base)
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if origin is tuple:
        return _items(arguments, value, where, base)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_table(kind, value, where, base)
    if kind is Path:
        if not isinstance(value, str):
            raise RecipeError(f"{where}: expected a path, got {value!r}")
        return Path(base, value).resolve()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise RecipeError(f"{where}: expected {_NAMES[kind]}, got {value!r}")
    if origin in _TABLES and not isinstance(value, Mapping):
        raise RecipeError(f"{where}: expected a table, got {value!r}")
    return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_TABLES = (dict, Mapping)


def _items(kinds: tuple[Any, ...], value: Any, where: str, base: Path) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RecipeError(f"{where}: expected a list, got {value!r}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise RecipeError(f"{where}: expected {len(kinds)} values, got {value!r}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_value(kind, item, f"{where}[{n}]", base) for n, (kind, item) in pairs)
