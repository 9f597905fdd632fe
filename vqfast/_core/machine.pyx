"""What this machine runs: the row of the ISA table in use, compiler and threads; and arrays as kernels see them."""
import os

cimport numpy as cnp

from .kernels cimport vq_isa_built, vq_kernels, vq_kernels_best, vq_kernels_named, vq_obs
from .team cimport VQ_OPENMP, omp_get_max_threads, omp_in_parallel

cdef extern from *:
    const char *VQ_COMPILER

cnp.import_array()


cdef const vq_kernels *kernels_of(isa) except NULL:
    """The named row of the ISA table; None is the one chosen at import."""
    cdef const vq_kernels *kernels
    if isa is None:
        return default_kernels
    kernels = vq_kernels_named(isa.encode())
    if kernels == NULL:
        raise ValueError(f"unknown or unsupported ISA {isa!r}; this machine runs {isa_supported()}")
    return kernels


def isa_built():
    """Names of the compiled rows of the ISA table, slowest first."""
    names = []
    cdef int i = 0
    while vq_isa_built(i) != NULL:
        names.append(vq_isa_built(i).decode())
        i += 1
    return names


def isa_supported():
    """Those of them that this CPU runs."""
    return [name for name in isa_built() if vq_kernels_named(name.encode()) != NULL]


def isa_in_use():
    return default_kernels.name.decode()


def compiler():
    return VQ_COMPILER.decode()


def openmp():
    """Version date of OpenMP as an integer, 0 without it."""
    return VQ_OPENMP


def can_thread():
    """Whether a parallel region may be entered: OpenMP is there and this is not one already."""
    return bool(VQ_OPENMP) and not omp_in_parallel()


def max_threads():
    """Threads that OpenMP would use here: 1 inside a parallel region or without OpenMP."""
    return 1 if omp_in_parallel() else omp_get_max_threads()


# Written once, here; VQFAST_ISA is for tests and for measurements.
cdef const vq_kernels *default_kernels = vq_kernels_best()
if os.environ.get("VQFAST_ISA"):
    default_kernels = kernels_of(os.environ["VQFAST_ISA"])


cdef bint view_obs(cnp.ndarray obs, vq_obs *view):
    """Fill the view of a 1-D or 2-D float array; returns whether it is float64."""
    cdef bint is_double = cnp.PyArray_TYPE(obs) == cnp.NPY_FLOAT64
    cdef Py_ssize_t itemsize = 8 if is_double else 4
    if not is_double and cnp.PyArray_TYPE(obs) != cnp.NPY_FLOAT32:
        raise TypeError(f"obs must be float32 or float64, got {obs.dtype}")
    view.data = cnp.PyArray_DATA(obs)
    view.row_stride = cnp.PyArray_STRIDE(obs, 0) // itemsize
    view.feature_stride = cnp.PyArray_STRIDE(obs, 1) // itemsize if cnp.PyArray_NDIM(obs) == 2 else 1
    return is_double


def peak_flops(double seconds=0.2, isa=None):
    """Floating-point operations a second of one thread in float32 multiply-adds, measured."""
    from time import perf_counter
    cdef const vq_kernels *kernels = kernels_of(isa)
    cdef float sink = 1
    cdef double flops = 0
    cdef Py_ssize_t n = 1000000
    best, end = 0.0, perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        with nogil:
            flops = kernels.peak(n, &sink)
        best = max(best, flops * n / (perf_counter() - start))
    return best
