"""Nested state in one safetensors file, which contains no code.

Arrays are the file's tensors; the structure around them is JSON in the file's metadata, with a
SHA-256 over structure and arrays. Safetensors itself checks the position of every tensor, and
reads and writes tensors one at a time, so a buffer of a gigabyte is never copied as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from errno import EIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ldm_wrappers.atomic_file import atomic_path

FORMAT = "ldm-state-3"
Arrays = dict[str, NDArray[Any]]
Loaded = TypeVar("Loaded")


class StateFileError(ValueError):
    """A state file is missing, damaged, or has a different format."""


def save_state(path: Path, state: Any) -> None:
    """Write nested dicts, lists, scalars, strings, NumPy arrays and tensors; atomic.

    Raises:
        TypeError: A leaf has the wrong type; the message names its place.
        OSError: The file cannot be written; an existing file is kept.
    """
    arrays: Arrays = {}
    structure = json.dumps(_pack(state, "state", arrays), separators=(",", ":"))
    # one entry, because safetensors writes several in random order
    header = json.dumps(
        {"format": FORMAT, "sha256": _digest(structure, arrays), "structure": structure}
    )
    with atomic_path(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={"ldm": header})
        except SafetensorError as error:
            raise _as_os_error(error) from None


def load_state(path: Path) -> Any:
    """Inverse of :func:`save_state`; tensors come back as NumPy arrays, tuples as lists.

    Runs no code from the file, and needs no more memory than the size of the file.

    Raises:
        StateFileError: The file is missing, damaged, or has a different format.
    """
    return read_guarded(path, lambda: _load(path), "state file")


def save_object(path: str | Path, state: dict[str, Any], metadata: dict[str, Any] | None) -> None:
    """Write ``state`` as the ``content`` of a file, next to ``metadata``; atomic."""
    if "content" in (metadata or {}):
        raise ValueError(f"metadata must not have the key 'content', got {metadata}")
    save_state(Path(path), {**(metadata or {}), "content": state})


def load_object(
    path: str | Path, kind: str, read: Callable[[Any, dict[str, Any]], Loaded]
) -> Loaded:
    """The result of ``read(content, metadata)`` for a file written by :func:`save_object`.

    Raises:
        StateFileError: The file is missing or damaged, or ``read`` fails.
    """
    state = load_state(Path(path))

    def read_state() -> Loaded:
        metadata = dict(state)
        content = metadata.pop("content")
        if content.get("kind") != kind:
            raise ValueError(f"its content is of kind {content.get('kind')!r}")
        return read(content, metadata)

    return read_guarded(Path(path), read_state, kind)


def read_guarded(path: Path, read: Callable[[], Loaded], kind: str) -> Loaded:
    """Call ``read``, which reads ``path``; every failure is a :class:`StateFileError`."""
    try:
        with path.open("rb"):  # its errors are clearer than those of safetensors
            return read()
    except StateFileError:
        raise
    except OSError as error:
        raise StateFileError(f"cannot read {path}: {error.strerror or error}") from None
    except (
        SafetensorError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError,
        RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise StateFileError(f"{path} does not contain a {kind}: {error}") from None


def _load(path: Path) -> Any:
    with safe_open(path, framework="np") as file:
        header = json.loads((file.metadata() or {}).get("ldm", "{}"))
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if header.get("format") != FORMAT:
        raise StateFileError(f"{path} has format {header.get('format')!r}, expected {FORMAT!r}")
    found, structure = header["sha256"], header["structure"]
    digest = _digest(structure, arrays)
    if found != digest:
        raise StateFileError(
            f"{path} is damaged: its checksum is {digest[:12]}…, not {str(found)[:12]}…"
        )
    return _unpack(json.loads(structure), arrays)


def _digest(structure: str, arrays: Arrays) -> str:
    """SHA-256 over the whole content of a file."""
    digest = hashlib.sha256(structure.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        octets: Any = array.reshape(-1).view(np.uint8)
        digest.update(octets)
    return digest.hexdigest()


def _as_os_error(error: SafetensorError) -> OSError:
    """The operating system's error, which safetensors reports as text."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(EIO, error)


def _pack(value: Any, place: str, arrays: Arrays) -> Any:
    """JSON structure of a value, its arrays moved into ``arrays``."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise TypeError(f"{place} is an array of dtype {value.dtype}, expected numbers")
        name = re.sub(r"[^\w.-]", "_", place, flags=re.ASCII)
        while name in arrays:  # keys 1 and "1" have the same name
            name += "'"
        arrays[name] = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
        return {"array": name}
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


def _unpack(structure: dict[str, Any], arrays: Arrays) -> Any:
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
