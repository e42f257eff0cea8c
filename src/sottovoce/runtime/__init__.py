"""Runs compressed models on numpy alone: `Session` on arrays, `enhance_*`, `extract_*` and `transcribe_*` on files."""

from pathlib import Path

from sottovoce.artefact.file import load as read
from sottovoce.runtime.enhance import Result, enhance_file, enhance_paths, enhance_pcm
from sottovoce.runtime.extract import extract_file, extract_list, extract_paths
from sottovoce.runtime.session import Session
from sottovoce.runtime.transcribe import transcribe_file, transcribe_list, transcribe_paths

__all__ = [
    "Result", "Session", "enhance_file", "enhance_paths", "enhance_pcm", "extract_file", "extract_list",
    "extract_paths", "load", "transcribe_file", "transcribe_list", "transcribe_paths",
]


def load(path: str | Path) -> Session:
    """The model of a `.sotto` file, ready to run. Raises FormatError if it is not one."""
    return Session(read(Path(path)))
