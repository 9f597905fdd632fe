from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packed_codes import PackedCodes

def rerank(
    queries: NDArray[np.float64],
    obs: NDArray[Any],
    candidates: NDArray[np.int64],
    indices: NDArray[np.int64],
    sq_dists: NDArray[np.float64],
    workers: int = 1,
    isa: str | None = None,
) -> None: ...

class CodeSearch(PackedCodes):
    def search(
        self,
        queries: NDArray[Any],
        k: int,
        indices: NDArray[np.int64],
        sq_dists: NDArray[np.float64],
        workers: int = 1,
    ) -> None: ...
