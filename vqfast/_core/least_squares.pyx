"""Sums over observations and their codes: normal equations of code books, rotations."""
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cython.parallel cimport parallel, threadid
from libc.stdint cimport uint16_t

cimport numpy as cnp

from .additive cimport vq_additive_kernels, vq_additive_of
from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs
from .machine cimport kernels_of, view_obs
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

cnp.import_array()

# Rows in a part of a rotation, and between two looks at the signals.
cdef Py_ssize_t PART_ROWS = 256
cdef Py_ssize_t ROWS_PER_SIGNAL_CHECK = 1 << 15


cdef struct Job:
    const vq_additive_kernels *kernels
    vq_obs obs
    int obs_type
    Py_ssize_t n_obs
    Py_ssize_t n_features
    double *vectors
    # normal equations
    const uint16_t *codes
    const double *weights
    const double *shift
    Py_ssize_t n_kept
    Py_ssize_t n_books
    Py_ssize_t n_codes
    double *counts
    double *sums
    # rotation
    const double *matrix
    Py_ssize_t n_outputs
    char *products


cdef void begin(Job *job, cnp.ndarray obs, isa) except *:
    job.kernels = vq_additive_of(kernels_of(isa))
    job.obs_type = VQ_FLOAT64 if view_obs(obs, &job.obs) else VQ_FLOAT32
    job.n_obs, job.n_features = cnp.PyArray_DIM(obs, 0), cnp.PyArray_DIM(obs, 1)


cdef void add_parts(vq_team *team, int worker, const Job *job) noexcept nogil:
    """Parts below n_books are the sums of a book, the others the counts of a pair of books."""
    cdef Py_ssize_t part = vq_team_next(team, worker), l, m
    while part >= 0:
        if part < job.n_books:
            job.kernels.add_sums(&job.obs, job.obs_type, job.codes, job.weights, job.n_obs, job.n_kept, job.n_books,
                                 job.n_codes, job.n_features, job.shift, part,
                                 job.vectors + worker * (job.n_features + 8), job.sums)
        else:
            l, m = 0, part - job.n_books
            while m >= job.n_books - l:
                m -= job.n_books - l
                l += 1
            job.kernels.add_counts(job.codes, job.weights, job.n_obs, job.n_kept, job.n_books, job.n_codes, l, l + m,
                                   job.counts)
        part = vq_team_next(team, worker)


def add_normal_equations(cnp.ndarray obs, cnp.ndarray codes, weights, cnp.ndarray shift, sums, counts, int workers=1,
                         isa=None):
    """Add observations to the normal equations of the code books that their codes are of.

    codes (n_obs, n_kept, n_books) uint16 holds one or several tuples of each observation,
    weights (n_obs, n_kept) float64 how much each counts (None for one each; a zero ends the
    tuples of an observation). To sums (n_books, n_codes, n_features) are added the weighted
    observations less shift, to counts (n_books n_codes, n_books n_codes), unless it is None, the
    weights of each pair of words: only the blocks on and above the diagonal. All are float64
    in C order. Every element is summed in the order of the observations.
    """
    cdef Job job
    cdef vq_team team
    begin(&job, obs, isa)
    job.codes = <const uint16_t *>cnp.PyArray_DATA(codes)
    job.n_kept, job.n_books = cnp.PyArray_DIM(codes, 1), cnp.PyArray_DIM(codes, 2)
    job.weights = NULL
    if weights is not None:
        job.weights = <const double *>cnp.PyArray_DATA(<cnp.ndarray?>weights)
    job.shift = <const double *>cnp.PyArray_DATA(shift)
    job.n_codes = cnp.PyArray_DIM(<cnp.ndarray?>sums, 1)
    job.sums = <double *>cnp.PyArray_DATA(<cnp.ndarray>sums)
    cdef Py_ssize_t n_parts = job.n_books
    if counts is not None:
        job.counts = <double *>cnp.PyArray_DATA(<cnp.ndarray?>counts)
        n_parts += job.n_books * (job.n_books + 1) // 2
    job.vectors = <double *>PyMem_RawMalloc(8 * (job.n_features + 8) * workers)
    if job.vectors == NULL:
        raise MemoryError
    with nogil:
        vq_team_begin(&team, workers, 0, n_parts)
        if workers == 1:
            add_parts(&team, 0, &job)
        else:
            with parallel(num_threads=vq_team_threads(workers)):
                vq_team_enter(&team, threadid())
                add_parts(&team, threadid(), &job)
    PyMem_RawFree(job.vectors)


cdef void rotate_parts(vq_team *team, int worker, const Job *job) noexcept nogil:
    cdef Py_ssize_t part = vq_team_next(team, worker), first
    cdef int itemsize = 4 if job.obs_type == VQ_FLOAT32 else 8
    cdef double *vector = job.vectors + worker * (4 * (job.n_features + job.n_outputs) + 8)
    cdef vq_obs obs
    while part >= 0:
        first = part * PART_ROWS
        obs = job.obs
        obs.data = <const char *>obs.data + first * obs.row_stride * itemsize
        job.kernels.rotate(&obs, job.obs_type, min(PART_ROWS, job.n_obs - first), job.n_features, job.matrix,
                           job.n_outputs, vector, job.products + first * job.n_outputs * itemsize)
        part = vq_team_next(team, worker)


def rotate(cnp.ndarray obs, cnp.ndarray matrix, cnp.ndarray products, int workers=1, isa=None):
    """products = obs @ matrix, each sum in double in the order of the features of obs.

    matrix (n_features, n_outputs) is float64, products (n_obs, n_outputs) of the type of obs,
    both in C order.
    """
    cdef Job job
    cdef vq_team team
    cdef Py_ssize_t first = 0, n_parts
    begin(&job, obs, isa)
    job.matrix, job.n_outputs = <const double *>cnp.PyArray_DATA(matrix), cnp.PyArray_DIM(matrix, 1)
    job.products = <char *>cnp.PyArray_DATA(products)
    n_parts = (job.n_obs + PART_ROWS - 1) // PART_ROWS
    job.vectors = <double *>PyMem_RawMalloc(8 * (4 * (job.n_features + job.n_outputs) + 8) * workers)
    if job.vectors == NULL:
        raise MemoryError
    try:
        while first < n_parts:
            with nogil:
                vq_team_begin(&team, workers, first, min(n_parts, first + ROWS_PER_SIGNAL_CHECK // PART_ROWS))
                if workers == 1:
                    rotate_parts(&team, 0, &job)
                else:
                    with parallel(num_threads=vq_team_threads(workers)):
                        vq_team_enter(&team, threadid())
                        rotate_parts(&team, threadid(), &job)
            first += ROWS_PER_SIGNAL_CHECK // PART_ROWS
            PyErr_CheckSignals()
    finally:
        PyMem_RawFree(job.vectors)
