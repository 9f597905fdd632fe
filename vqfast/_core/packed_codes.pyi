from typing import Any

import numpy as np
from numpy.typing import NDArray

def aligned(n_bytes: int) -> NDArray[np.uint8]: ...

class PackedCodes:
    n: int
    n_books: int
    n_codes: int
    n_features: int
    def __init__(
        self,
        words: list[NDArray[Any]],
        codes: NDArray[Any],
        is_sum: bool = False,
        rotation: NDArray[np.float64] | None = None,
        norms: str = "float32",
        workers: int = 1,
        isa: str | None = None,
    ) -> None: ...
