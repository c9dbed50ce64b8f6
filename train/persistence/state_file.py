"""Nested state in one file that holds no code: arrays as safetensors has them, the rest as JSON.

The file is a valid safetensors file whose metadata holds the format, the structure of the state,
and a SHA-256 over the whole file (its own 64 digits counted as zeros). Arrays are written and read
one after the other, so a buffer of a gigabyte is never copied.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from train.persistence.files import atomic_path

FORMAT = "ldm-state-2"
_START = b'{"__metadata__":{"sha256":"'
_NO_DIGEST = b"0" * 64
_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_BLOCK = 1 << 24
_LARGEST_HEADER = 1 << 28

Array = np.ndarray[Any, Any]


class StateFileError(ValueError):
    """A state file is missing, damaged, or of another format."""


def save_state(path: Path, state: Any) -> str:
    """Write nested dicts, lists, scalars, strings, NumPy arrays and tensors; atomic.

    Returns:
        The checksum that the file holds, hexadecimal.

    Raises:
        TypeError: A leaf of another type, named by its place.
        OSError: The file cannot be written; an older one of this name stays.
    """
    arrays: dict[str, Array] = {}
    structure = _pack(state, "state", arrays)
    header = _header(structure, arrays)
    digest = hashlib.sha256(header)
    with atomic_path(path) as temporary, temporary.open("wb", buffering=0) as file:
        _write(file, memoryview(header))
        for array in arrays.values():
            data = _bytes(np.ascontiguousarray(array))
            for start in range(0, len(data), _BLOCK):
                block = data[start : start + _BLOCK]
                digest.update(block)
                _write(file, block)
        file.seek(8 + len(_START))
        _write(file, memoryview(digest.hexdigest().encode()))
    return digest.hexdigest()


def load_state(path: Path, sha256: str | None = None) -> Any:
    """Inverse of :func:`save_state`; tensors come back as NumPy arrays, tuples as lists.

    Runs no code of the file, and takes no more memory than the file is long.

    Args:
        path: The file.
        sha256: Checksum that it must hold besides; ``None`` for any.

    Raises:
        StateFileError: The file is missing, damaged, of another format, or another one.
    """
    try:
        with path.open("rb") as file:
            structure, arrays, found = _read(path, file)
        if sha256 is not None and found != sha256:
            raise StateFileError(
                f"{path} is not the file that was saved: its checksum is {found[:12]}…, "
                f"expected {sha256[:12]}…"
            )
        return _unpack(structure, arrays)
    except StateFileError:
        raise
    except OSError as error:
        raise StateFileError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StateFileError(f"{path} is no state file: {error}") from None


def _header(structure: Any, arrays: dict[str, Array]) -> bytes:
    """Length and JSON header; the digest's place is filled with zeros."""
    metadata = {
        "sha256": _NO_DIGEST.decode(),
        "format": FORMAT,
        "structure": json.dumps(structure, separators=(",", ":")),
    }
    entries: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name, array in arrays.items():
        offsets = [position, position + array.nbytes]
        kind = _NAMES[array.dtype]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        position += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    assert text.startswith(_START + _NO_DIGEST)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read(path: Path, file: BinaryIO) -> tuple[Any, dict[str, Array], str]:
    """Structure, arrays and checksum of an open file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _LARGEST_HEADER):
        raise ValueError(f"its header claims {length} of {size} bytes")
    header = bytearray(file.read(length))
    if not header.startswith(_START):
        raise ValueError("its header does not begin with a checksum")
    place = slice(len(_START), len(_START) + len(_NO_DIGEST))
    held = header[place].decode("ascii", "replace")
    header[place] = _NO_DIGEST
    digest = hashlib.sha256(length.to_bytes(8, "little"))
    digest.update(header)
    entries = json.loads(header)
    metadata = entries.pop("__metadata__")

    arrays, position = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"array {name} has shape {shape}")
        end = position
        end += int(np.prod([dtype.itemsize, *shape], dtype=object))
        if entry["data_offsets"] != [position, end] or end > size - 8 - length:
            raise ValueError(f"array {name} of shape {shape} does not lie where the file says")
        array = np.empty(shape, dtype)
        data = _bytes(array)
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK]
            if file.readinto(block) != len(block):  # type: ignore[attr-defined]
                raise ValueError(f"it ends inside array {name}")
            digest.update(block)
        arrays[name], position = array, end
    if position != size - 8 - length:
        raise ValueError(f"{size - 8 - length - position} bytes belong to no array")

    if held != digest.hexdigest():
        raise StateFileError(
            f"{path} is damaged: its checksum is {digest.hexdigest()[:12]}…, not {held[:12]}…"
        )
    if metadata["format"] != FORMAT:
        raise StateFileError(f"{path} has format {metadata['format']!r}, expected {FORMAT!r}")
    return json.loads(metadata["structure"]), arrays, held


def _bytes(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    octets: Any = array.reshape(-1).view(np.uint8)
    return memoryview(octets)


def _write(file: Any, data: memoryview) -> None:
    while len(data):  # an unbuffered write may take less than it was given
        data = data[file.write(data) :]


def _pack(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """JSON structure of a value, its arrays moved into ``arrays``."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("=") not in _NAMES:
            raise TypeError(f"{place} is an array of dtype {value.dtype}, expected numbers")
        while place in arrays:  # keys 1 and "1" have one name
            place += "'"
        arrays[place] = value.astype(value.dtype.newbyteorder("="), copy=False)
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


def _unpack(structure: dict[str, Any], arrays: dict[str, Array]) -> Any:
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
