"""Promise 3: no matrix of observations times codes, however many there are."""

from pathlib import Path

import pytest

MEGABYTE = 1 << 20
MOST_EXTRA = 64 * MEGABYTE

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc/self/status"
)

# The peak is that of this process image alone, unlike ru_maxrss, which starts at the parent's.
MEASURE = """
import numpy as np, vqfast

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

rng = np.random.default_rng(0)
n_obs, d = {n_obs}, {d}
obs = rng.random((n_obs, d), dtype=np.float32).astype("{dtype}", copy=False)
book = obs[:{k}].copy()
{call_small}
before = peak()
result = {call}
print(peak() - before - sum(a.nbytes for a in result))
"""


@pytest.mark.parametrize(
    ("n_obs", "k", "d", "dtype"), [(10**6, 1024, 3, "f4"), (10**6, 1024, 2, "f4"), (100_000, 8192, 4, "f8")]
)
def test_vq(run_script, n_obs, k, d, dtype):
    call = "vqfast.vq(obs, book, workers=2)"
    small = "vqfast.vq(obs[:20000], book, workers=2)"
    assert int(run_script(MEASURE.format(n_obs=n_obs, k=k, d=d, dtype=dtype, call=call, call_small=small))) < MOST_EXTRA


@pytest.mark.parametrize("k", [16, 1024])
def test_panels(run_script, k):
    call = "vqfast.vq(obs, book, workers=2)"
    small = "vqfast.vq(obs[:2000], book, workers=2)"
    code = MEASURE.format(n_obs=100_000, k=k, d=48, dtype="f4", call=call, call_small=small)
    assert int(run_script(code)) < MOST_EXTRA


@pytest.mark.parametrize("minit", ["points", "++"])
def test_kmeans2(run_script, minit):
    call = "vqfast.kmeans2(obs, {k}, iter=1, minit='{minit}', rng=0, workers=2)"
    code = MEASURE.format(
        n_obs=10**6, k=1024, d=2, dtype="f4", call=call.format(k=1024 if minit == "points" else 8, minit=minit),
        call_small=call.format(k=8, minit=minit).replace("obs", "obs[:20000]"),
    )  # fmt: skip
    assert int(run_script(code)) < MOST_EXTRA


def test_kmeans_from_a_guess(run_script):
    call = "vqfast.kmeans(obs, book, max_iter=1, workers=2)"
    code = MEASURE.format(n_obs=10**6, k=512, d=2, dtype="f8", call=call, call_small=call.replace("obs", "obs[:20000]"))
    assert int(run_script(code)) < MOST_EXTRA


def test_column_slices_are_not_copied(run_script):
    code = """
import numpy as np, vqfast

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

obs = np.random.default_rng(0).random((200_000, 96), dtype=np.float32)[:, 8:88]
book = obs[:4].copy()
vqfast.vq(obs[:2000], book)
before = peak()
codes, dist = vqfast.vq(obs, book)
print(peak() - before - codes.nbytes - dist.nbytes)
"""
    assert int(run_script(code)) < 32 * MEGABYTE


def test_search(run_script):
    code = """
import numpy as np, vqfast

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

rng = np.random.default_rng(0)
quantizer = vqfast.ProductQuantizer.from_code_books(rng.random((8, 256, 2), dtype=np.float32), workers=2)
prepared = quantizer.prepare(rng.integers(0, 256, (10**6, 8), dtype=np.uint8))
queries = rng.random((2000, 16), dtype=np.float32)
quantizer.search(queries[:100], prepared, 10)
before = peak()
result = quantizer.search(queries, prepared, 10)
print(peak() - before - sum(a.nbytes for a in result))
"""
    assert int(run_script(code)) < MOST_EXTRA


@pytest.mark.parametrize("quantizer", ["ProductQuantizer(4)", "ResidualQuantizer(4)", "AdditiveQuantizer(4, 64)"])
def test_encode_and_decode(run_script, quantizer):
    """Beside their results they need room for some thousands of rows, however many there are."""
    call = "(codes := quantizer.encode(obs{part}), quantizer.decode(codes))"
    small = f"quantizer = vqfast.{quantizer}; quantizer.workers = 2; quantizer.fit(obs[:2000])\n"
    code = MEASURE.format(
        n_obs=150_000, k=16, d=64, dtype="f4",
        call=call.format(part=""), call_small=small + call.format(part="[:40000]"),
    )  # fmt: skip
    assert int(run_script(code)) < MOST_EXTRA
