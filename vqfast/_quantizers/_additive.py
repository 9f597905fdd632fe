"""Code books that are added: every code word covers all features, in no order."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike

from ._base import as_code_books, check_equal_widths
from ._residual import ResidualQuantizer


class AdditiveQuantizer(ResidualQuantizer):
    """Several code books whose words are added; the best sum is searched for."""

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes")

    def __init__(self, n_code_books: int, n_codes: int = 256, *, rng: Any = None, workers: int | None = None) -> None:
        super().__init__(n_code_books, n_codes, rng=rng, workers=workers)

    @classmethod
    def from_code_books(  # type: ignore[override]
        cls, code_books: ArrayLike, *, rng: Any = None, workers: int | None = None
    ) -> Self:
        """A quantizer with given code books."""
        books = as_code_books(code_books)
        check_equal_widths(books)
        quantizer = cls(len(books), books[0].shape[0], rng=rng, workers=workers)
        quantizer._set_given(books)
        return quantizer
