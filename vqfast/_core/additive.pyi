from typing import Any

import numpy as np
from numpy.typing import NDArray

STARTS: dict[str, int]

class SumBooks:
    workers: int
    form: str
    unit: float
    def __init__(
        self,
        code_books: NDArray[np.float64],
        narrow: bool,
        workers: int = 1,
        isa: str | None = None,
        form: str | None = None,
        ordered: bool = False,
    ) -> None: ...
    def search(
        self,
        obs: NDArray[Any],
        codes: NDArray[np.uint16],
        start: str = "given",
        beam: int = 1,
        n_rounds: int = 0,
        n_sweeps: int = 4,
        n_changes: int = 0,
        seed: int = 0,
        kept: NDArray[np.uint16] | None = None,
        kept_errors: NDArray[np.float64] | None = None,
    ) -> None: ...
    def decode(self, codes: NDArray[np.uint16], obs: NDArray[Any]) -> None: ...
    def sq_errors(self, obs: NDArray[Any], codes: NDArray[np.uint16], sq_errors: NDArray[np.float64]) -> None: ...
