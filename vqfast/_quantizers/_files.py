"""Quantizers in files: an uncompressed .npz of plain arrays, without pickle."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMAT = "vqfast quantizer 1"
_HEADER = "header"

# The last record of an archive: how it begins, and that no comment follows.
_END_OF_ARCHIVE = b"PK\x05\x06" + bytes(18)

Path = str | os.PathLike[str]


def write(path: Path, kind: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write a file that is complete or not there; one of that name is replaced at the end."""
    header = json.dumps({"format": _FORMAT, "class": kind, "parameters": parameters})
    contents: dict[str, Any] = {_HEADER: np.frombuffer(header.encode(), dtype=np.uint8), **arrays}
    path = os.fspath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **contents)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The parameters and arrays of a file with a quantizer of that class; anything else is a ValueError."""
    with open(path, "rb") as file:
        try:
            arrays = _members(file, os.fstat(file.fileno()).st_size)
            header = json.loads(arrays.pop(_HEADER).tobytes())
            found, parameters = header["format"], header["parameters"]
            found_kind = header["class"]
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)!r} is not a file of a vqfast quantizer, or is damaged: {error}"
            ) from error
    if found != _FORMAT or not isinstance(parameters, dict):
        raise ValueError(f"{os.fspath(path)!r} has the unknown format {found!r}")
    if found_kind != kind:
        raise ValueError(f"{os.fspath(path)!r} holds a {found_kind}, not a {kind}")
    return parameters, arrays


def _members(file: Any, size: int) -> dict[str, NDArray[Any]]:
    """All arrays of an archive. Every member is read to its end, which checks its sum, and none
    is larger than the file."""
    arrays = {}
    file.seek(-len(_END_OF_ARCHIVE), os.SEEK_END)
    end = file.read()
    if not (end.startswith(_END_OF_ARCHIVE[:4]) and end.endswith(_END_OF_ARCHIVE[-2:])):
        raise ValueError("it is not an archive, or does not end where one does")
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ValueError(f"member {info.filename!r} is compressed or larger than the file")
            if not info.filename.endswith(".npy"):
                raise ValueError(f"member {info.filename!r} is not an array")
            stream = BytesIO(archive.read(info))
            arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1):
                raise ValueError(f"member {info.filename!r} is longer than its array")
    return arrays
