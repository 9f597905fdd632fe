"""The quantizers: one code book, several side by side, several one after another, several at once."""

from ._additive import AdditiveQuantizer
from ._flat import VectorQuantizer
from ._packing import pack_codes, unpack_codes
from ._product import ProductQuantizer
from ._residual import ResidualQuantizer

__all__ = [
    "AdditiveQuantizer",
    "ProductQuantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
    "pack_codes",
    "unpack_codes",
]
