from typing import Any

import numpy as np
from numpy.typing import NDArray

def add_normal_equations(
    obs: NDArray[Any],
    codes: NDArray[np.uint16],
    weights: NDArray[np.float64] | None,
    shift: NDArray[np.float64],
    sums: NDArray[np.float64],
    counts: NDArray[np.float64] | None,
    workers: int = 1,
    isa: str | None = None,
) -> None: ...
def rotate(
    obs: NDArray[Any],
    matrix: NDArray[np.float64],
    products: NDArray[Any],
    workers: int = 1,
    isa: str | None = None,
) -> None: ...
