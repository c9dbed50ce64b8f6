"""Text and JSON files written atomically, and CSV files that grow during training."""

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
    """``text``, such as an ``env_id``, as part of a valid file name on any system."""
    return text.replace(":", "-").replace("/", "-")


def require_folder(name: str, path: Path) -> None:
    """Raise a ``ValueError`` if ``path`` cannot become a folder, since a file is in the way.

    Args:
        name: The flag, for the message.
        path: An existing folder, or a new one.
    """
    existing = next((one for one in (path, *path.parents) if one.exists()), path)
    if existing.exists() and not existing.is_dir():
        raise ValueError(f"{name} {path} must be a folder, but {existing} is a file")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


class DamagedLogError(StateFileError):
    """A CSV file no longer contains what was written to it."""


class CsvFile:
    """Appends rows, given as dicts; a row with a new column rewrites the file with that column.

    Args:
        path: The file; rows are appended if it exists.
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
            except OSError as error:  # on a full disk, the error does not name the file
                raise OSError(error.errno, error.strerror, str(self.path)) from error
        self.n_rows += len(rows)

    def position(self) -> list[Any]:
        """Columns and number of rows, for :meth:`truncate`; first flushes all rows to disk."""
        if self.path.exists():
            with self.path.open("rb+") as file:  # Windows flushes only files open for writing
                os.fsync(file.fileno())
        return [list(self.columns), self.n_rows]

    def truncate(self, columns: list[str], n_rows: int) -> None:
        """Return to an earlier :meth:`position`, and drop whatever a crash has left after it.

        Raises:
            DamagedLogError: If rows are missing or damaged.
        """
        kept = self._rows()[:n_rows] if self.path.exists() else []
        if len(kept) < n_rows:
            raise DamagedLogError(
                f"{self.path} has {len(kept)} rows, but had {n_rows} when the checkpoint was saved"
            )
        for number, row in enumerate(kept, 1):
            whole = set(columns) <= set(row) and None not in row and None not in row.values()
            if not whole or not row.get("timesteps", "0").isdecimal():
                raise DamagedLogError(f"row {number} of {self.path} is damaged: {row}")
        self.columns = list(columns)
        self.n_rows = len(kept)
        if self.path.exists():  # a file is not created without rows
            write_text(self.path, self._text(kept, header=True) if kept else "")

    def _rows(self) -> list[dict[str, str]]:
        """The rows before the first incomplete line.

        Raises:
            StateFileError: If the header is not text, so that the file never was a log.
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
    """Raise a ``StateFileError`` that names missing columns of a file.

    Args:
        path: The file, for the message.
        found: Its columns.
        needed: Names of the required columns, separated by spaces.
    """
    columns = list(found)
    missing = [name for name in needed.split() if name not in columns]
    if missing:
        raise StateFileError(f"{path} has no column {', '.join(missing)}, found {columns}")


def require_equal_lengths(path: Path, rows: list[dict[str, str]]) -> None:
    """Raise a ``StateFileError`` if a row of a file is shorter or longer than its header."""
    if any(None in row or None in row.values() for row in rows):
        raise StateFileError(
            f"{path} is damaged: a row and the header have different numbers of columns"
        )


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file as text.

    Raises:
        StateFileError: If it is not a CSV file.
    """
    try:
        return _parsed(path, path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StateFileError(f"{path} is not a CSV file: {error}") from None


def read_log(path: Path) -> list[dict[str, str]]:
    """Like :func:`read_csv`, for a file that grows: an incomplete last line is left out.

    The last line may be incomplete while a run is writing, after it was killed, or after a power
    cut, which may even leave zeros. A truncated number would be read as a different one.

    Raises:
        StateFileError: If it is not a CSV file, or a row is too short or too long.
    """
    text, rest = _whole_lines(path.read_bytes())
    if b"\n" in rest:
        line = text.count("\n") + 1
        raise StateFileError(f"{path} is not a CSV file: line {line} is not text")
    rows = _parsed(path, text)
    require_equal_lengths(path, rows)
    return rows


def _whole_lines(content: bytes) -> tuple[str, bytes]:
    """The lines before the first one that is unterminated or not text, and the rest."""
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
