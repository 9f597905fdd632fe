from libc.stdint cimport int16_t, int32_t, uint16_t, uint64_t

cimport numpy as cnp

from .kernels cimport vq_kernels, vq_obs
from .team cimport vq_team


cdef extern from "additive.h" nogil:
    enum:
        VQ_SUM_WIDTH
        VQ_SUM_LENGTH
        VQ_SUM_MISSING
        VQ_SUM_ROWS
        VQ_START_GIVEN
        VQ_START_IN_ORDER
        VQ_START_ANY_ORDER

    ctypedef struct vq_sum_books:
        Py_ssize_t n_books
        Py_ssize_t n_codes
        Py_ssize_t n_features
        Py_ssize_t width
        Py_ssize_t n_pairs
        int decoded_type
        const double *code_books
        const double *centred
        const double *shift
        double longest
        double word_scale
        double unit
        int16_t *words
        int32_t *norms
        int16_t *cross
        double *columns
        double *sq_norms

    ctypedef struct vq_sum_search:
        int start
        Py_ssize_t beam
        Py_ssize_t n_rounds
        Py_ssize_t n_sweeps
        Py_ssize_t n_changes
        Py_ssize_t n_kept
        uint64_t seed

    ctypedef struct vq_sum_candidate:
        pass

    ctypedef struct vq_sum_scratch:
        int16_t *rows
        float *factors
        double *sq_norms
        int32_t *unaries
        double *vector
        double *sums
        int32_t *tuples
        double *energies
        vq_sum_candidate *found
        int32_t *order
        double *own
        const int16_t **chosen
        int32_t *kept
        double *kept_energies

    ctypedef struct vq_additive_kernels:
        void (*pack_words)(const vq_sum_books *, Py_ssize_t, Py_ssize_t, double *) noexcept nogil
        double (*measure_words)(const vq_sum_books *, Py_ssize_t, Py_ssize_t, const double *, int16_t *, int32_t *,
                                double *) noexcept nogil
        void (*pack_cross)(const vq_sum_books *, Py_ssize_t, Py_ssize_t, int16_t *, int32_t *) noexcept nogil
        void (*pack_columns)(const vq_sum_books *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*search)(const vq_sum_books *, const vq_sum_search *, const vq_obs *, int, Py_ssize_t, vq_sum_scratch *,
                       uint16_t *, uint16_t *, double *) noexcept nogil
        void (*decode)(const vq_sum_books *, const uint16_t *, Py_ssize_t, double *, void *) noexcept nogil
        void (*sq_errors)(const vq_sum_books *, const vq_obs *, int, const uint16_t *, Py_ssize_t, double *,
                          double *) noexcept nogil
        void (*add_counts)(const uint16_t *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                           Py_ssize_t, Py_ssize_t, double *) noexcept nogil
        void (*add_sums)(const vq_obs *, int, const uint16_t *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                         Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t, double *, double *) noexcept nogil
        void (*rotate)(const vq_obs *, int, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t, double *,
                       void *) noexcept nogil

    const vq_additive_kernels *vq_additive_of(const vq_kernels *)


# What one call of SumBooks.search works on.
cdef struct SearchJob:
    vq_sum_search how
    vq_obs obs
    int obs_type
    Py_ssize_t n_obs
    Py_ssize_t block_rows
    vq_sum_scratch *scratch
    uint16_t *codes
    uint16_t *kept
    double *kept_errors


# What one pass over the rows of SumBooks.decode or sq_errors works on.
cdef struct RowsJob:
    vq_obs obs
    int obs_type
    Py_ssize_t n_obs
    const uint16_t *codes
    char *out
    double *errors
    double *vectors


cdef class SumBooks:
    cdef vq_sum_books books
    cdef const vq_additive_kernels *kernels
    cdef readonly int workers
    cdef list arrays
    cdef object wanted_form
    cdef bint ordered
    cdef void *kept[3]
    cdef Py_ssize_t kept_bytes[3]
    cdef int n_kept

    cdef void *take(self, Py_ssize_t n_bytes) except NULL
    cdef void release(self) noexcept
    cdef prepare(self)
    cdef build_columns(self)
    cdef bint build_tables(self, cnp.ndarray centred, bint forced) except -1
    cdef build_pass(self, int step, double *norms, double *nearest, double *most)
    cdef void build_parts(self, vq_team *team, int worker, int step, char *memory, double *norms, double *nearest,
                          double *most) noexcept nogil
    cdef char *layout(self, const SearchJob *job, char *base, vq_sum_scratch *scratch) noexcept nogil
    cdef void search_blocks(self, vq_team *team, int worker, const SearchJob *job) noexcept nogil
    cdef int run(self, SearchJob *job) except -1 nogil
    cdef void pass_parts(self, vq_team *team, int worker, const RowsJob *job) noexcept nogil
    cdef pass_over(self, RowsJob *job)
