"""Codes as strings of bits, for files and for other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._base import as_count

# Rows that are taken apart into bits at once, to bound the memory.
_ROWS_AT_ONCE = 1 << 12

_MOST_BITS = 16


def pack_codes(codes: ArrayLike, n_bits: int) -> NDArray[np.uint8]:
    """Write each row of codes as a string of bits.

    Parameters
    ----------
    codes : array_like of int, shape (n, n_code_books)
        What ``encode`` of a quantizer returned.
    n_bits : int
        Bits of a code, from 1 to 16: 8 for 256 codes, 4 for 16.

    Returns
    -------
    ndarray of uint8, shape (n, ceil(n_code_books * n_bits / 8))
        The codes of a row from the first to the last, each with its least significant bit first,
        filling the bytes from their least significant bit; the rest of the last byte is
        zero. It is the layout of the product, residual and local search quantizers of faiss.

    Raises
    ------
    ValueError
        If a code is negative or needs more bits, or a shape or number is out of range.
    TypeError
        If the codes are not integers.

    See Also
    --------
    unpack_codes : The inverse.

    Notes
    -----
    Time is O(n n_code_books n_bits); memory is the result and less than a megabyte for each 16
    code books.

    Examples
    --------
    >>> from vqfast import pack_codes
    >>> pack_codes([[1, 2, 3]], 4)
    array([[33,  3]], dtype=uint8)
    """
    n_bits = as_count(n_bits, "n_bits", 1, _MOST_BITS)
    array = _as_integers(codes, "codes")
    if array.size and not (array.min() >= 0 and array.max() < 1 << n_bits):
        raise ValueError(
            f"codes must lie in [0, {1 << n_bits}) to have {n_bits} bits, got {array.min()} to {array.max()}"
        )
    packed = np.empty((array.shape[0], (array.shape[1] * n_bits + 7) // 8), dtype=np.uint8)
    places = np.arange(n_bits, dtype=np.uint16)
    for first in range(0, array.shape[0], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        if n_bits == 8:
            packed[rows] = array[rows]
            continue
        bits = (array[rows].astype(np.uint16)[:, :, None] >> places & 1).astype(np.uint8)
        packed[rows] = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
    return packed


def unpack_codes(packed: ArrayLike, n_code_books: int, n_bits: int) -> NDArray[Any]:
    """Read codes from strings of bits.

    Parameters
    ----------
    packed : array_like of uint8, shape (n, ceil(n_code_books * n_bits / 8))
        What `pack_codes` returned.
    n_code_books : int
        Codes of a row.
    n_bits : int
        Bits of a code, from 1 to 16.

    Returns
    -------
    ndarray of uint8 or uint16, shape (n, n_code_books)
        The codes; uint8 up to 8 bits.

    Raises
    ------
    ValueError
        If the width of `packed` is not that of `n_code_books` codes of `n_bits` bits, or a number is
        out of range.
    TypeError
        If `packed` is not an array of bytes.

    See Also
    --------
    pack_codes : The inverse, with the layout.

    Notes
    -----
    Time is O(n n_code_books n_bits).

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import unpack_codes
    >>> unpack_codes(np.array([[33, 3]], dtype=np.uint8), 3, 4)
    array([[1, 2, 3]], dtype=uint8)
    """
    n_bits = as_count(n_bits, "n_bits", 1, _MOST_BITS)
    n_code_books = as_count(n_code_books, "n_code_books", 1)
    array = _as_integers(packed, "packed")
    width = (n_code_books * n_bits + 7) // 8
    if array.dtype != np.uint8:
        raise TypeError(f"packed must be an array of bytes (uint8), got dtype {array.dtype}")
    if array.shape[1] != width:
        raise ValueError(
            f"packed must have {width} bytes a row for {n_code_books} x {n_bits} bits, got shape {array.shape}"
        )
    codes = np.empty((array.shape[0], n_code_books), dtype=np.uint8 if n_bits <= 8 else np.uint16)
    values = (1 << np.arange(n_bits)).astype(codes.dtype)
    for first in range(0, array.shape[0], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        if n_bits == 8:
            codes[rows] = array[rows]
            continue
        bits = np.unpackbits(array[rows], axis=1, count=n_code_books * n_bits, bitorder="little")
        codes[rows] = (bits.reshape(len(bits), n_code_books, n_bits) * values).sum(axis=2, dtype=codes.dtype)
    return codes


def _as_integers(values: ArrayLike, name: str) -> NDArray[Any]:
    """A matrix of integers."""
    array = np.asarray(values)
    if array.dtype.kind not in "ui":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-d, got shape {array.shape}")
    return array
