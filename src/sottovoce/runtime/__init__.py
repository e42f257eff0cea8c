"""Runs compressed models: sessions on arrays, `enhance_*`, `extract_*` and `transcribe_*` on files.

`open_session` takes the compiled engine where it can; `Session` is numpy alone, what everything is held against.
"""

from pathlib import Path

from sottovoce.artefact.file import load as read
from sottovoce.runtime.engine import CompiledSession, open_session
from sottovoce.runtime.enhance import Result, enhance_file, enhance_paths, enhance_pcm
from sottovoce.runtime.extract import extract_file, extract_list, extract_paths
from sottovoce.runtime.session import Session
from sottovoce.runtime.surface import AnySession
from sottovoce.runtime.transcribe import transcribe_file, transcribe_list, transcribe_paths

__all__ = [
    "AnySession", "CompiledSession", "Result", "Session", "enhance_file", "enhance_paths", "enhance_pcm",
    "extract_file", "extract_list", "extract_paths", "load", "open_session", "transcribe_file", "transcribe_list",
    "transcribe_paths",
]


def load(path: str | Path) -> Session:
    """The model of a `.sotto` file, run by numpy. Raises FormatError if it is not one."""
    return Session(read(Path(path)))
