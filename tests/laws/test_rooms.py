"""The rooms and who may enter which: the drawing in docs/architecture.md, held against the code."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sottovoce"

# room -> the rooms and the libraries it may import; everything may use the standard library, numpy, errors and files
MAY = {
    "errors": set(),
    "files": set(),
    "ledger": set(),
    "curves": {"tensorboard"},
    "settings": set(),
    "scales": set(),
    "artefact": set(),
    "runtime": {"artefact", "_engine", "soundfile", "soxr"},
    "export": {"artefact", "_engine", "runtime", "onnx", "onnxruntime"},
    "metrics": {"jiwer", "soxr", "pesq", "pystoi", "fast_bss_eval", "speechmos", "onnxruntime", "scipy"},
    "units": {"torch"},
    "decoding": {"kaldifst", "kaldi_decoder"},
    "models": {"units", "torch"},
    "data": {"runtime", "torch", "lhotse", "soundfile", "soxr", "scipy", "rich", "pocketsphinx",
             "sentencepiece"},
    "tasks": {"data", "metrics", "decoding", "runtime", "torch"},
    "training": {"torch", "accelerate"},
    "checkpoints": {"torch", "safetensors"},
    "techniques": {"scales", "training", "units", "ledger", "artefact", "decoding", "metrics", "torch"},
    "packing": {"techniques", "artefact", "models", "torch"},
    "recipe": {"techniques", "tasks", "models", "settings", "torch"},
    "beginning": {"recipe", "settings", "techniques", "models", "packing", "runtime", "checkpoints", "torch"},
    "run": {"beginning", "recipe", "settings", "metrics", "techniques", "models", "packing", "training", "checkpoints",
            "curves", "ledger", "artefact", "torch"},
    "zoo": {"artefact"},
    "report": {"scales", "jinja2", "markupsafe", "matplotlib", "PIL", "soundfile"},
    "proof": {"run", "report", "metrics", "artefact", "runtime", "tasks"},
    "bench": {"artefact", "runtime", "export"},
    "terminal": {"ledger", "artefact", "runtime", "rich"},
    "cli": {"terminal", "proof", "recipe", "beginning", "run", "techniques", "models", "runtime", "artefact", "export",
            "bench", "data", "decoding", "zoo", "typer", "lhotse", "torch"},
}
ALWAYS = {"errors", "files", "numpy"}
NO_TORCH = ("artefact", "runtime", "export", "zoo", "metrics", "decoding", "report", "errors", "files", "ledger")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms and libraries that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "sottovoce":
                names = [f"sottovoce.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] if name.startswith("sottovoce.") else name.split(".")[0] for name in names}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    import sys

    room = room_of(path)
    allowed = MAY[room] | ALWAYS | {room} | set(sys.stdlib_module_names) | {"__version__"}
    assert imports(path) <= allowed, f"{path}: {imports(path) - allowed}"


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in FILES} == set(MAY)


def test_no_way_leads_from_the_runtime_to_torch() -> None:
    for room in NO_TORCH:
        seen, ahead = set(), [room]
        while ahead:
            here = ahead.pop()
            seen.add(here)
            ahead += [other for other in MAY.get(here, ()) if other not in seen]
        assert "torch" not in seen, room
