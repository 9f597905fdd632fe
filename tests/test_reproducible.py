"""Promise 2: the same seed gives the same bits, with any number of workers on any instruction set."""

import numpy as np
import pytest
import reference

import vqfast
from vqfast._core.machine import isa_supported
from vqfast._core.nearest import Nearest

# Enough work for several threads, in both scans and in the shared sums.
SHAPES = [(6000, 40, 3), (6000, 40, 20), (7000, 30, 48)]

# Prints one line for every result of the public functions.
FITS = """
import hashlib, sys, warnings
import numpy as np, vqfast
from vqfast._core.machine import isa_in_use
warnings.simplefilter("ignore")
print(isa_in_use())

def show(name, *arrays):
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
    print(name, digest)

for dtype in ("f4", "f8"):
    for n_obs, k, d in ((3000, 30, 1), (3000, 40, 3), (3000, 40, 20), (3000, 30, 48), (500, 20, 130)):
        data = np.random.default_rng(d).normal(100, 1, (n_obs, d)).astype(dtype)
        weights = np.random.default_rng(d).random(n_obs)
        for workers in (1, 2):
            case = f"{dtype} {d}"
            show("whiten " + case, vqfast.whiten(data))
            show("vq " + case, *vqfast.vq(data, data[:k], workers=workers))
            show("kmeans " + case, *vqfast.kmeans(data, k, iter=2, rng=3, workers=workers, max_iter=8))
            for minit in ("random", "points", "++"):
                if minit != "random" or d < 130:  # the SVD is LAPACK's
                    show(f"{minit} " + case, *vqfast.kmeans2(data, k, iter=6, minit=minit, seed=3, workers=workers))
            options = {"minit": "++", "rng": 3, "sample_weight": weights, "workers": workers}
            show("weighted " + case, *vqfast.kmeans2(data, k, iter=4, **options))
"""


@pytest.fixture(params=SHAPES, ids=str)
def data(request, dtype):
    n_obs, k, d = request.param
    return np.random.default_rng(d).normal(50, 1, (n_obs, d)).astype(dtype), k


def assert_same_bits(results, others):
    for result, other in zip(results, others, strict=True):
        assert np.asarray(result).tobytes() == np.asarray(other).tobytes()


@pytest.fixture
def reference_fits(data):
    obs, k = data
    return [
        vqfast.vq(obs, obs[:k], workers=1),
        vqfast.kmeans(obs, k, iter=2, rng=1, max_iter=5, workers=1, return_codes=True),
        vqfast.kmeans2(obs, k, iter=5, minit="++", rng=1, workers=1),
        vqfast.kmeans2(obs, k, iter=5, minit="points", rng=1, workers=1, sample_weight=np.arange(len(obs)) % 3),
    ]


def test_workers_change_nothing(data, workers, reference_fits):
    obs, k = data
    fits = [
        vqfast.vq(obs, obs[:k], workers=workers),
        vqfast.kmeans(obs, k, iter=2, rng=1, max_iter=5, workers=workers, return_codes=True),
        vqfast.kmeans2(obs, k, iter=5, minit="++", rng=1, workers=workers),
        vqfast.kmeans2(obs, k, iter=5, minit="points", rng=1, workers=workers, sample_weight=np.arange(len(obs)) % 3),
    ]
    for fit, expected in zip(fits, reference_fits, strict=True):
        assert_same_bits(fit, expected)


def test_layout_changes_nothing(data):
    obs, k = data
    once = vqfast.kmeans2(obs, k, iter=3, minit="points", rng=1)
    for view in (np.asfortranarray(obs), np.repeat(obs, 2, axis=1)[:, ::2], obs[::-1].copy()[::-1]):
        assert_same_bits(vqfast.kmeans2(view, k, iter=3, minit="points", rng=1), once)


def test_isa_changes_no_assignment(isa, data, workers):
    obs, k = data
    book = obs[:k].astype("f8")
    codes, dist = np.zeros(len(obs), np.int32), np.zeros(len(obs))
    Nearest(obs, k, workers, isa).assign(book, codes, dist)
    expected, sq = reference.nearest(obs, book)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(dist, reference.distances(sq))


def test_isa_and_process_change_no_fit(run_script):
    lines = {isa: run_script(FITS, VQFAST_ISA=isa).splitlines() for isa in isa_supported()}
    for isa, (used, *results) in lines.items():
        assert used == isa
        assert len(results) == 2 * len(set(results))  # one worker and two
        assert results == lines[isa_supported()[0]][1:]


def test_one_openmp_thread_changes_no_fit(run_script):
    assert run_script(FITS, OMP_NUM_THREADS="1") == run_script(FITS)


def test_unknown_isa_is_refused(run_script):
    code = "try:\n    import vqfast\nexcept ValueError as error:\n    print(error)"
    assert "unknown or unsupported ISA 'vax'" in run_script(code, VQFAST_ISA="vax")


FEWER_THREADS = """
import numpy as np, vqfast
obs = np.random.default_rng(0).normal(size=(100000, 12)).astype("f4")
fits = [vqfast.kmeans2(obs, obs[:50], 6, minit="matrix", workers=workers) for workers in (1, 4)]
assert all((one == other).all() for one, other in zip(*fits))
"""


@pytest.mark.parametrize("limit", [{"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}])
def test_fewer_threads_than_workers(limit, run_script):
    run_script(FEWER_THREADS, MALLOC_PERTURB_="85", **limit)
