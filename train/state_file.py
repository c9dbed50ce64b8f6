"""Nested state in one file that holds no code: arrays in safetensors, the rest as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save_file as save_arrays

FORMAT = "ldm-state-1"


class StateFileError(ValueError):
    """A state file is missing, damaged, or of another format."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_state(path: Path, state: Any) -> str:
    """Write nested dicts, lists, scalars, strings, NumPy arrays and tensors; atomic.

    Returns:
        The SHA-256 of the file, hexadecimal.

    Raises:
        TypeError: A leaf of another type, named by its place.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    structure = _pack(state, "state", arrays)
    metadata = {"format": FORMAT, "structure": json.dumps(structure)}
    with atomic_path(path) as temporary:
        save_arrays(arrays, temporary, metadata)
        return _sha256(temporary)


def load_state(path: Path, sha256: str | None = None) -> Any:
    """Inverse of :func:`save_state`; tensors come back as NumPy arrays. Runs no code of the file.

    Args:
        path: The file.
        sha256: Expected checksum; ``None`` skips the comparison.

    Raises:
        StateFileError: The file is missing, damaged, of another format, or fails the checksum.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateFileError(f"cannot read {path}: {error.strerror or error}") from None
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise StateFileError(
            f"{path} is damaged: its checksum is {found[:12]}…, not {sha256[:12]}…"
        )
    try:
        arrays = load_arrays(content)
        header_size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_size]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise StateFileError(
                f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}"
            )
        return _unpack(json.loads(metadata["structure"]), arrays)
    except StateFileError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateFileError(f"{path} is no state file: {error}") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _pack(value: Any, place: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """JSON structure of a value, its arrays moved into ``arrays``."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{place} is an array of dtype {value.dtype}, expected numbers")
        arrays[place] = np.ascontiguousarray(value).reshape(value.shape)
        return {"array": place}
    if isinstance(value, np.generic):
        return _pack(value.item(), place, arrays)
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, dict):
        items = []
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise TypeError(f"{place} has the key {key!r}, expected a string or an integer")
            items.append([key, _pack(item, f"{place}.{key}", arrays)])
        return {"dict": items}
    if isinstance(value, (list, tuple)):
        return {"list": [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]}
    raise TypeError(f"{place} is a {type(value).__name__}, expected numbers, text or arrays")


def _unpack(structure: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    kind, content = next(iter(structure.items()))
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in content}
    if kind == "list":
        return [_unpack(item, arrays) for item in content]
    if kind == "value":
        return content
    raise ValueError(f"unknown entry {kind!r}")
