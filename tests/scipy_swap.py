"""A pytest plugin that puts vqfast in the place of scipy.cluster.vq, for SciPy's own tests.

    python -m pytest -p scipy_swap --pyargs scipy.cluster.tests.test_vq

It counts the calls of every function put in, and prints the counts when the run ends.
"""

import functools
import importlib
import types

import numpy as np
import scipy.cluster
import scipy.cluster.vq as public

import vqfast
from vqfast import _seeding

NAMES = ("whiten", "vq", "py_vq", "kmeans", "kmeans2")
calls = dict.fromkeys((*NAMES, "_vq.vq", "_krandinit"), 0)


def counted(name, function):
    @functools.wraps(function)
    def counting(*args, **options):
        calls[name] += 1
        return function(*args, **options)

    return counting


def strict_vq(obs, codes):
    """SciPy's compiled vq: float32 or float64, the same for both."""
    if obs.dtype != codes.dtype:
        raise TypeError("observation and code should have same dtype")
    if obs.dtype not in (np.float32, np.float64):
        raise TypeError("type other than float or double not supported")
    return vqfast.vq(obs, codes)


def krandinit(data, k, rng, xp=None):
    return _seeding.random_normal(np.asarray(data), int(k), rng, None, 1)


def swap():
    try:
        implementation = importlib.import_module("scipy.cluster.vq._vq_impl")  # SciPy 1.18 and later
    except ImportError:
        implementation = public
    replaced = {name: getattr(public, name) for name in NAMES}
    new = {name: counted(name, getattr(vqfast, name)) for name in NAMES}
    for module in (public, implementation):
        for name in NAMES:
            setattr(module, name, new[name])
        module.ClusterError = vqfast.ClusterError
        module._krandinit = counted("_krandinit", krandinit)
    if hasattr(implementation, "_py_vq"):
        implementation._py_vq = new["py_vq"]
    scipy.cluster._vq = implementation._vq = types.SimpleNamespace(
        vq=counted("_vq.vq", strict_vq), update_cluster_means=implementation._vq.update_cluster_means
    )
    try:
        from scipy._lib._array_api import xp_capabilities_table as capabilities  # SciPy 1.16 and later
    except ImportError:
        return
    for name in NAMES:
        if replaced[name] in capabilities:
            capabilities.setdefault(new[name], capabilities[replaced[name]])


def pytest_terminal_summary(terminalreporter):
    counts = " ".join(f"{name}={count}" for name, count in calls.items())
    terminalreporter.write_line(f"vqfast was called: {counts}")


swap()
