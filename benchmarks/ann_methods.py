"""The quantizers that are measured, one process each.

``python benchmarks/ann_methods.py METHOD BITS WORKERS FILE`` reads learn, base and query from an
.npz file and prints one JSON line: seconds to train, to encode the base and to search it, the mean
squared error of the base, the bytes of a code and the recall.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

K = 100
RECALLS = (1, 10, 100)
SINGLE_QUERIES = 50
# A job that takes so many seconds is run once.
ONCE = 2.0


class Method:
    """A quantizer of some bits for vectors of some features."""

    package = ""

    def __init__(self, bits: int, n_features: int, workers: int) -> None:
        self.bits, self.n_features, self.workers = bits, n_features, workers
        self.n_books = bits // 8

    def train(self, learn: np.ndarray) -> None:
        raise NotImplementedError

    def encode(self, base: np.ndarray) -> Any:
        raise NotImplementedError

    def decode(self, codes: Any) -> np.ndarray:
        raise NotImplementedError

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray] | None:
        """A function of queries that finds K indices, or None where there is no such thing."""
        raise NotImplementedError

    def n_bytes(self) -> float:
        return self.bits / 8


class Vqfast(Method):
    package = "vqfast"
    kind, norm_bytes = "ProductQuantizer", 0
    options: ClassVar[dict[str, Any]] = {}

    def train(self, learn: np.ndarray) -> None:
        import vqfast

        cls = getattr(vqfast, self.kind)
        self.quantizer = cls(self.n_books, **self.options, rng=0, workers=self.workers).fit(learn)

    def encode(self, base: np.ndarray) -> Any:
        return self.quantizer.encode(base)

    def decode(self, codes: Any) -> np.ndarray:
        return self.quantizer.decode(codes)

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray]:
        prepared = self.quantizer.prepare(codes)
        return lambda queries: self.quantizer.search(queries, prepared, K)[0]

    def n_bytes(self) -> float:
        return self.bits / 8 + self.norm_bytes


class VqfastOpq(Vqfast):
    options: ClassVar[dict[str, Any]] = {"rotation": "opq"}


class VqfastFour(Vqfast):
    """Sixteen code words a book."""

    options: ClassVar[dict[str, Any]] = {"n_codes": 16}

    def __init__(self, bits: int, n_features: int, workers: int) -> None:
        super().__init__(bits, n_features, workers)
        self.n_books = bits // 4


class VqfastResidual(Vqfast):
    kind, norm_bytes = "ResidualQuantizer", 1


class VqfastAdditive(Vqfast):
    kind, norm_bytes = "AdditiveQuantizer", 1


class VqfastAdditiveHigh(VqfastAdditive):
    options: ClassVar[dict[str, Any]] = {"effort": "high"}


class Faiss(Method):
    """An index, whose quantizer is trained by itself."""

    package = "faiss-cpu"

    def __init__(self, bits: int, n_features: int, workers: int) -> None:
        super().__init__(bits, n_features, workers)
        import faiss

        faiss.omp_set_num_threads(workers)
        self.faiss = faiss
        self.index = self.make()

    def make(self) -> Any:
        return self.faiss.IndexPQ(self.n_features, self.n_books, 8)

    def train(self, learn: np.ndarray) -> None:
        self.index.train(learn)

    def encode(self, base: np.ndarray) -> Any:
        return self.index.sa_encode(base)

    def decode(self, codes: Any) -> np.ndarray:
        return self.index.sa_decode(codes)

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray] | None:
        self.index.add_sa_codes(codes)
        return lambda queries: self.index.search(queries, K)[1]

    def n_bytes(self) -> float:
        return float(self.index.sa_code_size())


class FaissOpq(Faiss):
    def make(self) -> Any:
        opq = self.faiss.OPQMatrix(self.n_features, self.n_books)
        return self.faiss.IndexPreTransform(opq, super().make())

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray]:
        inner = self.faiss.downcast_index(self.index.index)
        inner.add_sa_codes(codes)
        self.index.ntotal = inner.ntotal
        return lambda queries: self.index.search(queries, K)[1]


class FaissFastScan(Faiss):
    """Its codes come by adding."""

    def make(self) -> Any:
        self.plain = self.faiss.IndexPQ(self.n_features, self.bits // 4, 4)
        return self.plain

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray]:
        self.plain.add_sa_codes(codes)
        scan = self.faiss.IndexPQFastScan(self.plain)
        return lambda queries: scan.search(queries, K)[1]


class FaissResidual(Faiss):
    """Vectors' norms as floats beside the codes."""

    beam_tables = 0

    def make(self) -> Any:
        norms = self.faiss.AdditiveQuantizer.ST_norm_float
        index = self.faiss.IndexResidualQuantizer(self.n_features, self.n_books, 8, self.faiss.METRIC_L2, norms)
        index.rq.use_beam_LUT = self.beam_tables
        return index


class FaissResidualTables(FaissResidual):
    beam_tables = 1


class FaissLsq(Faiss):
    def make(self) -> Any:
        norms = self.faiss.AdditiveQuantizer.ST_norm_float
        return self.faiss.IndexLocalSearchQuantizer(self.n_features, self.n_books, 8, self.faiss.METRIC_L2, norms)


class Nanopq(Method):
    package = "nanopq"
    kind = "PQ"

    def train(self, learn: np.ndarray) -> None:
        import nanopq

        self.quantizer = getattr(nanopq, self.kind)(self.n_books, 256, verbose=False)
        self.quantizer.fit(learn, **({"pq_iter": 20, "rotation_iter": 10, "seed": 0} if self.kind == "OPQ" else {}))

    def encode(self, base: np.ndarray) -> Any:
        return self.quantizer.encode(base)

    def decode(self, codes: Any) -> np.ndarray:
        return self.quantizer.decode(codes)

    def prepare(self, codes: Any) -> Callable[[np.ndarray], np.ndarray] | None:
        return None  # distances of one query, no search


class NanopqOpq(Nanopq):
    kind = "OPQ"


METHODS: dict[str, type[Method]] = {
    "vqfast product": Vqfast,
    "vqfast opq": VqfastOpq,
    "vqfast product, 4 bits": VqfastFour,
    "vqfast residual": VqfastResidual,
    "vqfast additive": VqfastAdditive,
    "vqfast additive, high effort": VqfastAdditiveHigh,
    "faiss PQ": Faiss,
    "faiss OPQ": FaissOpq,
    "faiss PQ fast-scan, 4 bits": FaissFastScan,
    "faiss RQ": FaissResidual,
    "faiss RQ, tables": FaissResidualTables,
    "faiss LSQ": FaissLsq,
    "nanopq PQ": Nanopq,
    "nanopq OPQ": NanopqOpq,
}


def seconds_of(job: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    """Median seconds of a job after a warm-up, and what it returns; a long one is run once."""
    times: list[float] = []
    while len(times) < repeats + 1 and not (times and times[0] > ONCE):
        start = time.perf_counter()
        result = job()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:] or times)), result


def measure(name: str, bits: int, workers: int, file: str) -> dict[str, Any]:
    """All figures of one method."""
    from importlib.metadata import version

    data = np.load(file)
    learn, base, query, truth = (data[part] for part in ("learn", "base", "query", "truth"))
    method = METHODS[name](bits, base.shape[1], workers)
    train_seconds, _ = seconds_of(lambda: method.train(learn), 2)
    encode_seconds, codes = seconds_of(lambda: method.encode(base), 3)
    error = base.astype(np.float64) - method.decode(codes)
    row: dict[str, Any] = {
        "method": name,
        "bits": bits,
        "version": f"{method.package} {version(method.package)}",
        "bytes": method.n_bytes(),
        "distortion": float(np.einsum("ij,ij->", error, error) / len(base)),
        "train_seconds": train_seconds,
        "encode_microseconds": 1e6 * encode_seconds / len(base),
    }
    search = method.prepare(codes)
    if search is not None:
        seconds, found = seconds_of(lambda: search(query))
        some = min(SINGLE_QUERIES, len(query))
        single, _ = seconds_of(lambda: [search(query[i : i + 1]) for i in range(some)])
        row |= {"search_milliseconds": 1e3 * seconds / len(query), "single_milliseconds": 1e3 * single / some}
        row |= {f"recall@{r}": float((found[:, :r] == truth[:, None]).any(axis=1).mean()) for r in RECALLS}
    return row


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    try:
        answer = measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    except Exception as error:
        answer = {"method": sys.argv[1], "bits": int(sys.argv[2]), "error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
