from typing import Any

import numpy as np
from numpy.typing import NDArray

from .integers import Integers

PATHS: dict[str, int]

def paths_of(isa: str | None = None) -> list[str]: ...

class Nearest:
    array: NDArray[Any]
    n_obs: int
    n_features: int
    n_codes: int
    workers: int
    integers: Integers | None
    def __init__(
        self,
        obs: NDArray[Any],
        n_codes: int,
        workers: int = 1,
        isa: str | None = None,
        path: str | None = None,
        rounds: int = 1,
    ) -> None: ...
    def assign(
        self,
        code_book: NDArray[np.float64],
        codes: NDArray[np.int32],
        dist: NDArray[Any] | None = None,
        warm: bool = False,
        follow: bool = False,
        check_finite: bool = False,
        moved: NDArray[np.uint8] | None = None,
    ) -> bool: ...
    def project(self, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]: ...
