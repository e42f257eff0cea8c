"""Curves for TensorBoard, written where they are made.

TensorBoard's own writer works in a thread, and where the disk is full that thread dies with a traceback of its own.
"""

import os
import time
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError


class Curves:
    """The curves of one stage in one folder; after a restart they go on where training goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: Any = None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, name: str, value: float, step: int) -> None:
        """A point of a curve. Raises SottovoceError where it cannot be written."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        try:
            if self._file is None:
                self._begin(step)
            self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
        except OSError as error:
            raise SottovoceError(f"{self.folder}: cannot be written: {error.strerror}") from error

    def _begin(self, step: int) -> None:
        """A new file, which takes back what an earlier one has from this step on."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        self._file = path.open("wb", buffering=0)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        event.wall_time = time.time()
        RecordWriter(self._file).write(event.SerializeToString())
