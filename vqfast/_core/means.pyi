import numpy as np
from numpy.typing import NDArray

from .nearest import Nearest

class Means:
    weights: NDArray[np.float64] | None
    n_moved: int
    n_empty: int
    def __init__(
        self, search: Nearest, weights: NDArray[np.float64] | None = None, known: tuple[float, float] | None = None
    ) -> None: ...
    def forget(self) -> None: ...
    def update(
        self,
        codes: NDArray[np.int32],
        code_book: NDArray[np.float64],
        members: NDArray[np.bool_],
        all_means: bool = True,
    ) -> int: ...
    def computed(self) -> NDArray[np.uint8]: ...
