"""The nearest code words of a few observations, in a code book that is not worth packing."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport INFINITY
from libc.stdint cimport int32_t

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, vq_kernels, vq_obs
from .machine cimport kernels_of

cnp.import_array()

# So few observations search a float32 code book without packing it, up to so many
# multiply-adds: packing costs as much as a dozen plain searches and can use more threads.
cdef Py_ssize_t FEW_OBS = 20
cdef double WORK_OF_FEW = 1e8


def worth_packing(Py_ssize_t n_obs, Py_ssize_t n_codes, Py_ssize_t n_features):
    """Whether `assign_few` is not the faster search."""
    cdef double work = <double>n_obs * n_codes * n_features
    return n_obs >= FEW_OBS or work > WORK_OF_FEW


def assign_few(cnp.ndarray obs, cnp.ndarray code_book, cnp.ndarray codes, cnp.ndarray dist,
               bint check_finite=False, isa=None):
    """As `Nearest.assign` on one thread, for a float32 code book that is not worth packing.

    obs (n_obs, n_features) and code_book (n_codes, n_features) are float32 in C order, codes
    int32, dist float32.
    """
    cdef const vq_kernels *kernels = kernels_of(isa)
    cdef Py_ssize_t n = cnp.PyArray_DIM(obs, 0), d = cnp.PyArray_DIM(obs, 1), k = cnp.PyArray_DIM(code_book, 0)
    cdef const float *x = <const float *>cnp.PyArray_DATA(obs)
    cdef const float *words = <const float *>cnp.PyArray_DATA(code_book)
    cdef int32_t *codes_data = <int32_t *>cnp.PyArray_DATA(codes)
    cdef void *dist_data = cnp.PyArray_DATA(dist)
    cdef double *row
    cdef vq_obs view
    if check_finite:
        view.data, view.row_stride, view.feature_stride = x, d, 1
        if not kernels.typed[VQ_FLOAT32].magnitude(&view, n, d) < INFINITY:
            return False
    row = <double *>PyMem_RawMalloc(8 * (n + d))
    if row == NULL:
        raise MemoryError
    with nogil:
        kernels.assign_few(x, n, words, k, d, row + n, codes_data, row)
        kernels.roots(row, n, VQ_FLOAT32, dist_data)
    PyMem_RawFree(row)
    return True
