from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK: int

def place_of(
    share: float,
    sq_dists: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
) -> int: ...

class Seeds:
    sq_dists: NDArray[np.float64]
    sums: NDArray[np.float64]
    filtered: bool
    def __init__(
        self,
        obs: NDArray[Any],
        n_draws: int = 1,
        weights: NDArray[np.float64] | None = None,
        workers: int = 1,
        isa: str | None = None,
        filtered: bool | None = None,
    ) -> None: ...
    def lower(self, drawn: int) -> None: ...
    def gain(self, drawn: int) -> float: ...
    def choose(self, first: int, shares: NDArray[np.float64]) -> NDArray[np.int64]: ...
