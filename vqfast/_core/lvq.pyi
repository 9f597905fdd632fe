from typing import Any

import numpy as np
from numpy.typing import NDArray

RULES: dict[str, int]
WHEN_CORRECT: dict[str, int]
SCHEDULES: dict[str, int]

class Schedule:
    rate: float
    horizon: float
    epoch: float
    decay: float
    floor: float
    def __init__(
        self, kind: str, rate: float, horizon: float, epoch: float, decay: float, floor: float = 0.0
    ) -> None: ...
    def rates(self, first: int, n: int) -> NDArray[np.float64]: ...

class Training:
    obs: NDArray[Any]
    classes: NDArray[np.int32]
    starts: NDArray[np.int32]
    labels: NDArray[np.int32]
    def __init__(
        self,
        rule: str,
        obs: NDArray[Any],
        classes: NDArray[np.int32],
        prototypes: NDArray[Any],
        starts: NDArray[np.int32],
        rates: NDArray[np.float64] | None = None,
        omega: NDArray[np.float64] | None = None,
        isa: str | None = None,
        **options: Any,
    ) -> None: ...
    def train(self, order: NDArray[np.int64], schedule: Schedule, first: int = 0) -> None: ...
    def watch(self, centre: NDArray[np.float64], limit: float) -> None: ...
    def settle(self) -> bool: ...
    def prototypes(self) -> NDArray[Any]: ...
    def rates(self) -> NDArray[np.float64]: ...
    def omega(self) -> NDArray[np.float64]: ...

def hashes(obs: NDArray[Any], classes: NDArray[np.int32], isa: str | None = None) -> NDArray[np.uint64]: ...
def shuffle(rows: NDArray[np.int64], draws: NDArray[np.float64]) -> None: ...
def class_sq_dists(
    obs: NDArray[Any],
    prototypes: NDArray[np.float64],
    starts: NDArray[np.int32],
    workers: int = 1,
    isa: str | None = None,
) -> NDArray[np.float64]: ...
def posteriors(
    obs: NDArray[Any],
    prototypes: NDArray[np.float64],
    starts: NDArray[np.int32],
    variance: float,
    workers: int = 1,
    isa: str | None = None,
) -> NDArray[np.float64]: ...
def project(
    obs: NDArray[Any], omega: NDArray[np.float64], workers: int = 1, isa: str | None = None
) -> NDArray[np.float64]: ...
