"""Text and JSON files written whole or not at all, and CSV files that grow during training."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ldm_wrappers.atomic_file import atomic_path
from ldm_wrappers.state_file import StateFileError


def file_name(text: str) -> str:
    """``text``, an ``env_id`` for example, as a part of a file's name on any system."""
    return text.replace(":", "-").replace("/", "-")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


class DamagedLogError(StateFileError):
    """A CSV file no longer holds what was written to it."""


class CsvFile:
    """Appends rows of dicts; a row with a new column rewrites the file with it.

    Args:
        path: The file; rows are appended to an existing one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.n_rows = 0
        if path.exists():
            rows = self._rows()
            self.n_rows = len(rows)
            self.columns = list(rows[0]) if rows else []

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Append rows; a missing column is left empty."""
        new = [key for row in rows for key in row if key not in self.columns]
        if new:
            self.columns += list(dict.fromkeys(new))
            old = self._rows() if self.path.exists() else []
            write_text(self.path, self._text(old + rows, header=True))
        else:
            try:
                with self.path.open("a", encoding="utf-8", newline="") as file:
                    file.write(self._text(rows, header=False))
            except OSError as error:  # a full disk does not say which file it has no room for
                raise OSError(error.errno, error.strerror, str(self.path)) from error
        self.n_rows += len(rows)

    def position(self) -> list[Any]:
        """Columns and number of rows, for :meth:`truncate`; what was appended is on the disk."""
        if self.path.exists():
            with self.path.open("rb+") as file:  # Windows flushes what is open for writing only
                os.fsync(file.fileno())
        return [list(self.columns), self.n_rows]

    def truncate(self, columns: list[str], n_rows: int) -> None:
        """Return to an earlier :meth:`position`; what a crash has left after it does not matter.

        Raises:
            DamagedLogError: Rows are missing or have been changed into something else since.
        """
        kept = self._rows()[:n_rows] if self.path.exists() else []
        if len(kept) < n_rows:
            raise DamagedLogError(
                f"{self.path} has {len(kept)} rows, and had {n_rows} when it was written"
            )
        for number, row in enumerate(kept, 1):
            whole = set(columns) <= set(row) and None not in row and None not in row.values()
            if not whole or not row.get("timesteps", "0").isdecimal():
                raise DamagedLogError(f"row {number} of {self.path} is damaged: {row}")
        self.columns = list(columns)
        self.n_rows = len(kept)
        if self.path.exists():  # a file that never had a row is not made
            write_text(self.path, self._text(kept, header=True) if kept else "")

    def _rows(self) -> list[dict[str, str]]:
        """The rows before the first line that was not written whole.

        Raises:
            StateFileError: That line is the header, and is no text: this never was a log.
        """
        text, _ = _whole_lines(self.path.read_bytes())
        return _parsed(self.path, text) if text else read_csv(self.path)

    def _text(self, rows: list[dict[str, Any]], *, header: bool) -> str:
        stream = io.StringIO()
        writer = csv.DictWriter(
            stream, self.columns, restval="", extrasaction="ignore", lineterminator="\n"
        )
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue()


def require_columns(path: Path, found: Iterable[str], needed: str) -> None:
    """Raise a ``StateFileError`` that names the columns that a file lacks.

    Args:
        path: The file, for the message.
        found: Its columns.
        needed: Names separated by spaces.
    """
    columns = list(found)
    missing = [name for name in needed.split() if name not in columns]
    if missing:
        raise StateFileError(f"{path} has no column {', '.join(missing)}, found {columns}")


def require_equal_lengths(path: Path, rows: list[dict[str, str]]) -> None:
    """Raise a ``StateFileError`` where a row of a file is shorter or longer than its header."""
    if any(None in row or None in row.values() for row in rows):
        raise StateFileError(
            f"{path} is damaged: a row has another number of columns than the header"
        )


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file as text.

    Raises:
        StateFileError: It is not a CSV file.
    """
    try:
        return _parsed(path, path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StateFileError(f"{path} is not a CSV file: {error}") from None


def read_log(path: Path) -> list[dict[str, str]]:
    """As :func:`read_csv`, of a file that grows, and without a last line that is not whole.

    A run that is writing leaves such a line, or one that was killed, or a power cut, after which
    it may hold zeros or anything else. A number that was cut is another number.

    Raises:
        StateFileError: It is not a CSV file, or a row is too short or too long.
    """
    text, rest = _whole_lines(path.read_bytes())
    if b"\n" in rest:
        raise StateFileError(f"{path} is not a CSV file: line {text.count(chr(10)) + 1} is no text")
    rows = _parsed(path, text)
    require_equal_lengths(path, rows)
    return rows


def _whole_lines(content: bytes) -> tuple[str, bytes]:
    """The lines before the first one that has no end or is not text, and the rest."""
    end = content.find(b"\0") if b"\0" in content else len(content)
    try:
        content[:end].decode("utf-8")
    except UnicodeDecodeError as error:
        end = error.start
    end = content.rfind(b"\n", 0, end) + 1
    return content[:end].decode("utf-8"), content[end:]


def _parsed(path: Path, text: str) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise StateFileError(f"{path} is not a CSV file: {error}") from None
