import numpy as np
from numpy.typing import NDArray

from .means import Means
from .nearest import Nearest

def lloyd(
    search: Nearest,
    means: Means,
    code_book: NDArray[np.float64],
    codes: NDArray[np.int32],
    n_rounds: int,
    stop_on_empty: bool = False,
) -> int: ...
