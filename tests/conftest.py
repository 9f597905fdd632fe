"""Fixtures of the whole suite, which tests the installed package, not the source folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# `python -m pytest` puts the working directory first on the path, and the vqfast/ of the
# source tree has no compiled modules.
_ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or os.curdir).resolve() != _ROOT]

from vqfast._core import machine, nearest  # noqa: E402


@pytest.fixture
def root():
    """The source tree, for tests that read it; skips where only the tests are there."""
    if not (_ROOT / "vqfast" / "_core" / "nearest.pyx").exists():
        pytest.skip("the source tree of vqfast is not beside the tests")
    return _ROOT


@pytest.fixture(params=["f4", "f8"])
def dtype(request):
    return np.dtype(request.param)


def pytest_generate_tests(metafunc):
    """isa: every instruction set that is built and that this CPU runs; path: each of its paths.

    A bounded_path is one that keeps bounds between the rounds of a fit; an integer_isa has the
    integer scan.
    """
    if "integer_isa" in metafunc.fixturenames:
        metafunc.parametrize("integer_isa", [i for i in machine.isa_supported() if "integers" in nearest.paths_of(i)])
    wanted = [name for name in ("path", "bounded_path") if name in metafunc.fixturenames]
    if "isa" not in metafunc.fixturenames:
        return
    if not wanted:
        metafunc.parametrize("isa", machine.isa_supported())
        return
    bounded = wanted == ["bounded_path"]
    pairs = [
        (isa, path)
        for isa in machine.isa_supported()
        for path in nearest.paths_of(isa)
        if not bounded or path in ("panels", "integers", "directions")
    ]
    metafunc.parametrize(["isa", wanted[0]], pairs)


@pytest.fixture(params=[1, 2, 3, 7])
def workers(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)


@pytest.fixture
def run_script(tmp_path):
    """Run Python code in a process of its own; its standard output.

    The limit only ends a hang: nothing here takes a tenth of it.
    """

    def run(code, timeout=120, **environment):
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert process.returncode == 0, f"exit status {process.returncode}\n{process.stdout}\n{process.stderr}"
        return process.stdout

    return run
