import numpy as np
from numpy.typing import NDArray

def worth_packing(n_obs: int, n_codes: int, n_features: int) -> bool: ...
def assign_few(
    obs: NDArray[np.float32],
    code_book: NDArray[np.float32],
    codes: NDArray[np.int32],
    dist: NDArray[np.float32],
    check_finite: bool = False,
    isa: str | None = None,
) -> bool: ...
