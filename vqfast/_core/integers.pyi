from typing import Any

from numpy.typing import NDArray

def skew_of(directions: NDArray[Any]) -> float: ...

class Integers:
    n_obs: int
    n_features: int
    n_codes: int
    block_rows: int
    keeps_rows: bool
    keeps_bounds: bool
    keeps_second: bool
    quad: int

    @property
    def n_directions(self) -> int: ...
    @property
    def span(self) -> int: ...
    def share_needed(self) -> float: ...
