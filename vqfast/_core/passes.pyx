"""Passes over the observations alone, shared between threads."""
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs, vq_typed_kernels
from .machine cimport kernels_of, view_obs
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

cnp.import_array()

# Elements that are worth a thread, and how many at most.
cdef Py_ssize_t ELEMENTS_PER_PART = 1 << 17
cdef Py_ssize_t MOST_PARTS = 64


# What the simple passes over the rows need to know of each other's parts.
cdef struct Pass:
    const vq_typed_kernels *typed
    vq_obs obs
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t itemsize
    Py_ssize_t part_rows


cdef int begin_pass(Pass *rows, cnp.ndarray obs, isa, Py_ssize_t n_parts) except -1:
    cdef bint is_double = view_obs(obs, &rows.obs)
    rows.typed = &kernels_of(isa).typed[VQ_FLOAT64 if is_double else VQ_FLOAT32]
    rows.n_rows = cnp.PyArray_DIM(obs, 0)
    rows.n_features = cnp.PyArray_DIM(obs, 1) if cnp.PyArray_NDIM(obs) == 2 else 1
    rows.itemsize = 8 if is_double else 4
    rows.part_rows = (rows.n_rows + n_parts - 1) // n_parts
    return 0


cdef Py_ssize_t take_part(const Pass *rows, Py_ssize_t part, vq_obs *obs) noexcept nogil:
    """The view of a part; returns its number of rows."""
    cdef Py_ssize_t first = part * rows.part_rows
    obs[0] = rows.obs
    obs.data = <const char *>obs.data + first * obs.row_stride * rows.itemsize
    return max(0, min(rows.part_rows, rows.n_rows - first))


def magnitude(cnp.ndarray obs, int workers=1, isa=None):
    """The largest absolute value of a 1-D or 2-D float array; inf or NaN if one is not finite."""
    return extents(obs, workers, isa, False)[0]


def extents(cnp.ndarray obs, int workers=1, isa=None, bint both=True):
    """The same and the smallest absolute value that is not zero: inf if there is none."""
    cdef Py_ssize_t n_parts = max(1, min(workers, MOST_PARTS, cnp.PyArray_SIZE(obs) // ELEMENTS_PER_PART)), i
    cdef double[64] highest  # MOST_PARTS
    cdef double[64] lowest
    cdef double *lows = lowest if both else NULL
    cdef double largest = 0, smallest = INFINITY
    cdef vq_team team
    cdef Pass rows
    begin_pass(&rows, obs, isa, n_parts)
    with nogil:
        vq_team_begin(&team, n_parts, 0, n_parts)
        if n_parts == 1:
            measure_parts(&team, 0, &rows, highest, lows)
        else:
            with parallel(num_threads=vq_team_threads(n_parts)):
                vq_team_enter(&team, threadid())
                measure_parts(&team, threadid(), &rows, highest, lows)
    for i in range(n_parts):
        smallest = min(smallest, lowest[i]) if both else smallest
        if not highest[i] <= largest:  # also a NaN
            largest = highest[i]
            if largest != largest:
                break
    return largest, smallest


cdef void measure_parts(vq_team *team, int worker, const Pass *rows, double *highest, double *lowest) noexcept nogil:
    cdef Py_ssize_t part = vq_team_next(team, worker), n
    cdef vq_obs obs
    while part >= 0:
        n = take_part(rows, part, &obs)
        if lowest == NULL:
            highest[part] = rows.typed.magnitude(&obs, n, rows.n_features)
        else:
            rows.typed.extents(&obs, n, rows.n_features, highest + part, lowest + part)
        part = vq_team_next(team, worker)
