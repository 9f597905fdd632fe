"""The libraries that are measured, one process each.

``python benchmarks/contenders.py NAME`` reads one JSON request a line on standard input and
answers with one JSON line: {"seconds": ...} for a run, {"error": ...} where the library
cannot do the job. Inputs are .npy files, so that all see the same numbers.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Job = Callable[[], Any]


def _module(name: str) -> Any:
    __import__(name)
    return sys.modules[name]


class Contender:
    """What a library calls the jobs; a method that is missing is a job it does not do."""

    package = ""
    module = ""
    float64 = True  # whether it computes in float64 when given float64

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.lib = _module(self.module or self.package)

    def version(self) -> str:
        from importlib.metadata import version

        return version(self.package)


class Vqfast(Contender):
    """This package."""

    package = "vqfast"

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        return lambda: self.lib.vq(obs, code_book, workers=self.workers)[0]

    def kernel(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        """The float32 scan as a round of a fit runs it: one thread, the codes of the round before known."""
        from vqfast._core.nearest import Nearest

        search = Nearest(obs, len(code_book), path="panels")
        book, codes = code_book.astype(float), np.empty(len(obs), np.int32)
        search.assign(book, codes)

        def run() -> np.ndarray:
            search.assign(book, codes, warm=True)
            return codes

        return run

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        return lambda: self.lib.kmeans2(obs, code_book, rounds, minit="matrix", workers=self.workers)[0]

    def plus_plus(self, obs: np.ndarray, n_codes: int, rounds: int) -> Job:
        return lambda: self.lib.kmeans2(obs, n_codes, rounds, minit="++", seed=0, workers=self.workers)[0]

    def start(self, obs: np.ndarray, n_codes: int) -> Job:
        from vqfast._seeding import start

        return lambda: start("++", obs, n_codes, np.random.default_rng(0), None, self.workers)


class SciPy(Contender):
    """scipy.cluster.vq; its threads are those of its BLAS."""

    package = "scipy"
    module = "scipy.cluster.vq"

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        return lambda: self.lib.vq(obs, code_book)[0]

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        return lambda: self.lib.kmeans2(obs, code_book, rounds, minit="matrix")[0]

    def plus_plus(self, obs: np.ndarray, n_codes: int, rounds: int) -> Job:
        return lambda: self.lib.kmeans2(obs, n_codes, rounds, minit="++", seed=0)[0]


class ScikitLearn(Contender):
    """KMeans(algorithm='lloyd'); prediction returns codes only."""

    package = "scikit-learn"
    module = "sklearn.cluster"
    algorithm = "lloyd"

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        model = self.lib.KMeans(len(code_book), init=code_book, n_init=1, max_iter=1).fit(obs[: len(code_book)])
        model.cluster_centers_ = code_book.copy()
        return lambda: model.predict(obs)

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        k = len(code_book)
        options = dict(init=code_book, n_init=1, max_iter=rounds, tol=0, algorithm=self.algorithm)
        return lambda: self.lib.KMeans(k, **options).fit(obs).cluster_centers_

    def start(self, obs: np.ndarray, n_codes: int) -> Job:
        return lambda: self.lib.kmeans_plusplus(obs, n_codes, n_local_trials=1, random_state=0)[0]


class ScikitLearnElkan(ScikitLearn):
    """KMeans(algorithm='elkan')."""

    algorithm = "elkan"
    vq = start = None  # type: ignore[assignment]


class ScikitLearnPairwise(Contender):
    """metrics.pairwise_distances_argmin_min: codes and distances."""

    package = "scikit-learn"
    module = "sklearn.metrics"

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        return lambda: self.lib.pairwise_distances_argmin_min(obs, code_book)[0]


class Faiss(Contender):
    """faiss.knn with k=1, faiss.Kmeans on all points."""

    package = "faiss-cpu"
    module = "faiss"
    float64 = False

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.lib.omp_set_num_threads(workers)

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        return lambda: self.lib.knn(obs, code_book, 1)[1].ravel()

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        def run() -> np.ndarray:
            k, d = code_book.shape
            kmeans = self.lib.Kmeans(d, k, niter=rounds, max_points_per_centroid=len(obs), min_points_per_centroid=1)
            kmeans.train(obs, init_centroids=code_book)
            return kmeans.centroids

        return run


class FaissSuperKMeans(Contender):
    """faiss.SuperKmeans: approximate, its own random start."""

    package = "faiss-cpu"
    module = "faiss"
    float64 = False

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.lib.omp_set_num_threads(workers)

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        def run() -> np.ndarray:
            k, d = code_book.shape
            options = dict(niter=rounds, max_points_per_centroid=len(obs), min_points_per_centroid=1)
            kmeans = self.lib.SuperKmeans(d, k, **options)
            kmeans.train(obs)
            return kmeans.centroids

        return run


class SuperKMeans(Contender):
    """superkmeans: flat, all points, all rounds, its own random start."""

    package = "superkmeans"
    float64 = False

    def model(self, n_codes: int, n_features: int, rounds: int, n_obs: int) -> Any:
        return self.lib.SuperKMeans(
            n_codes,
            n_features,
            hierarchical=False,
            iters=rounds,
            sampling_fraction=1.0,
            max_points_per_cluster=n_obs,
            early_termination=False,
            n_threads=self.workers,
        )

    def vq(self, obs: np.ndarray, code_book: np.ndarray) -> Job:
        model = self.model(*code_book.shape, 1, len(obs))
        return lambda: model.assign(obs, code_book)

    def fit(self, obs: np.ndarray, code_book: np.ndarray, rounds: int) -> Job:
        return lambda: self.model(*code_book.shape, rounds, len(obs)).train(obs)


CONTENDERS: dict[str, type[Contender]] = {
    "vqfast": Vqfast,
    "SciPy": SciPy,
    "scikit-learn": ScikitLearn,
    "scikit-learn (elkan)": ScikitLearnElkan,
    "scikit-learn (pairwise)": ScikitLearnPairwise,
    "faiss": Faiss,
    "faiss (SuperKMeans)": FaissSuperKMeans,
    "superkmeans": SuperKMeans,
}


def mean_sq_error(obs: np.ndarray, code_book: np.ndarray) -> float:
    """Of a sample of the observations to their nearest code words, in float64."""
    sample = obs[:: max(1, len(obs) // 5000)].astype(float)
    book = np.asarray(code_book, dtype=float)
    sq_dists = np.maximum(0, (sample**2).sum(1)[:, None] - 2 * sample @ book.T + (book**2).sum(1))
    return float(sq_dists.min(1).mean())


class Server:
    """Keeps the prepared job between requests, so that only its run is timed."""

    def __init__(self, name: str, workers: int) -> None:
        self.contender = CONTENDERS[name](workers)
        self.job: Job = lambda: None
        self.obs: np.ndarray | None = None

    def prepare(self, method: str, obs: str, code_book: str | None = None, **options: Any) -> dict[str, Any]:
        if getattr(self.contender, method, None) is None:
            return {"error": "does not do this"}
        self.obs = np.load(obs)
        if self.obs.dtype == np.float64 and not self.contender.float64:
            return {"error": "computes in float32"}
        arguments = [self.obs] if code_book is None else [self.obs, np.load(code_book)]
        self.job = getattr(self.contender, method)(*arguments, **options)
        return {}

    def run(self, repeat: int = 1, check: str | None = None) -> dict[str, Any]:
        if repeat > 1:
            self.job()  # wakes the threads
        start = time.perf_counter()
        for _ in range(repeat):
            result = self.job()
        answer: dict[str, Any] = {"seconds": (time.perf_counter() - start) / repeat}
        if check == "codes":
            answer["codes"] = int(np.asarray(result, dtype=np.int64).sum())
        elif check == "mean_sq_error":
            assert self.obs is not None
            answer["mean_sq_error"] = mean_sq_error(self.obs, result)
        return answer

    def version(self) -> dict[str, Any]:
        return {"version": self.contender.version()}

    def peak(self) -> dict[str, Any]:
        from vqfast._core.machine import peak_flops

        return {"flops": peak_flops(0.5)}


def main() -> None:
    """Serve requests until standard input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr  # some libraries print
    server = Server(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
