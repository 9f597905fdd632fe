from typing import Any

import numpy as np
from numpy.typing import NDArray

def magnitude(obs: NDArray[Any], workers: int = 1, isa: str | None = None) -> float: ...
def extents(obs: NDArray[Any], workers: int = 1, isa: str | None = None, both: bool = True) -> tuple[float, float]: ...
def lower_sq_dists(
    obs: NDArray[Any],
    code_word: NDArray[np.float64],
    sq_dists: NDArray[np.float64],
    workers: int = 1,
    isa: str | None = None,
) -> None: ...
