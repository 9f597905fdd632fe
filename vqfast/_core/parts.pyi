from typing import Any

from numpy.typing import NDArray

MOST_FEATURES: int

def assign_parts(
    obs: NDArray[Any],
    code_books: list[NDArray[Any]],
    codes: NDArray[Any],
    workers: int = 1,
    isa: str | None = None,
) -> bool: ...
