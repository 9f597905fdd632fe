from libc.stdint cimport int32_t, int64_t

cimport numpy as cnp

from .integers cimport vq_integers_book, vq_integers_kernels, vq_integers_rows
from .kernels cimport vq_code_book, vq_kernels, vq_obs, vq_typed_kernels
from .team cimport vq_team

cdef extern from "seeds.h" nogil:
    enum:
        VQ_SEEDS_ROWS

    ctypedef struct vq_seeds_rows:
        Py_ssize_t n_quads
        int32_t *quads
        float *units
        float *errors
        float *norms
        float *sq_norms
        float *limits

    ctypedef struct vq_seeds_kernels:
        void (*place)(const vq_integers_rows *, Py_ssize_t, Py_ssize_t, vq_seeds_rows *) noexcept nogil
        Py_ssize_t (*list)(const vq_seeds_rows *, Py_ssize_t, Py_ssize_t, int32_t *) noexcept nogil
        void (*limit)(const int32_t *, Py_ssize_t, Py_ssize_t, const double *, double, double,
                      vq_seeds_rows *) noexcept nogil


# Scratch of one worker.
cdef struct SeedsScratch:
    int32_t *found
    double *lowered
    double *row
    float *packed
    vq_integers_rows quantized
    int64_t n_listed


# An observation that is drawn, or might be, as the threads see it; drawn is -1 while integers are made.
cdef struct Draw:
    Py_ssize_t drawn
    double *code_word
    double *gains
    bint filtered


cdef class Seeds:
    cdef vq_obs obs
    cdef cnp.ndarray array
    cdef const vq_typed_kernels *typed
    cdef const vq_kernels *kernels
    cdef const vq_integers_kernels *integers
    cdef const vq_seeds_kernels *filter
    cdef int obs_type, workers
    cdef Py_ssize_t n_obs, n_features, itemsize, n_blocks, part_blocks
    cdef readonly cnp.ndarray sq_dists, sums
    cdef double *lowest
    cdef double *potentials
    cdef object weights
    cdef const double *weight
    cdef readonly bint filtered
    cdef vq_seeds_rows rows
    cdef vq_integers_book quads
    cdef vq_code_book space
    cdef double longest
    cdef Py_ssize_t n_rounds, n_listed, n_chosen
    cdef SeedsScratch **scratch
    cdef Draw draw
    cdef vq_team team
    cdef char *memory
    cdef Py_ssize_t n_bytes

    cdef bint suits_filter(self, Py_ssize_t n_draws) noexcept
    cdef int allocate(self) except -1
    cdef Py_ssize_t layout(self, char *base) noexcept
    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept
    cdef bint choose_space(self)
    cdef double longest_of_rows(self)
    cdef void view_block(self, Py_ssize_t block, vq_obs *obs, Py_ssize_t *n_rows) noexcept nogil
    cdef void place_block(self, Py_ssize_t block, SeedsScratch *scratch) noexcept nogil
    cdef void draw_block(self, Py_ssize_t block, SeedsScratch *scratch) noexcept nogil
    cdef void run_part(self, Py_ssize_t part, int worker) noexcept nogil
    cdef void take(self, Py_ssize_t drawn) noexcept nogil
    cdef void run_parts(self) noexcept nogil
    cdef void run_rounds(self, const double *shares, Py_ssize_t n, int64_t *chosen) noexcept nogil
    cdef void run(self, const double *shares=*, Py_ssize_t n=*, int64_t *chosen=*) noexcept nogil
    cdef int check(self, Py_ssize_t drawn) except -1
