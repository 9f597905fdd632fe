from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t, uint8_t

from .kernels cimport vq_code_book, vq_kernels, vq_obs, vq_scratch
from .team cimport vq_team

cdef extern from "integers.h" nogil:
    enum:
        VQ_INTEGERS_VECTOR
        VQ_INTEGERS_SLOTS
        VQ_INTEGERS_SPAN
        VQ_INTEGERS_FEATURES
        VQ_INTEGERS_FACTS
        VQ_INTEGERS_HITS
        VQ_INTEGERS_COLUMNS
        VQ_INTEGERS_MAPPED
        VQ_INTEGERS_CHUNK

    ctypedef struct vq_integers_directions:
        Py_ssize_t n
        Py_ssize_t n_columns
        float *columns
        float error
        float margin

    ctypedef struct vq_integers_book:
        Py_ssize_t n_vectors
        Py_ssize_t n_quads
        Py_ssize_t span
        int32_t *order
        int32_t *positions
        int8_t *codes
        int32_t *starts
        float *half_norms
        float *units
        float *norms
        float *errors
        vq_integers_directions directions

    ctypedef struct vq_integers_rows:
        uint8_t *quads
        float *units
        float *errors
        float *norms
        float *sq_norms
        float *spares
        uint8_t *second
        float *second_units

    ctypedef struct vq_integers_history:
        float *snapshots
        uint8_t *places
        int n_slots
        int last
        int slot
        float *code_ways
        float *ways
        float *steps

    ctypedef struct vq_integers_bounds:
        uint16_t *lower
        Py_ssize_t row_step
        float *units
        float *upper
        float *dists
        int64_t *n_needed
        const float *ways
        const float *steps
        int slot
        int reused
        int first_round

    ctypedef struct vq_integers_hit:
        pass

    ctypedef struct vq_integers_scratch:
        float *row
        float *minima
        float *best
        int32_t *vectors
        int32_t *own
        float *own_dists
        float *dists
        int32_t *codes
        uint8_t *in_doubt
        float *limits
        float *facts
        float *upper
        float *inverses
        float *heights
        int32_t *parts
        int32_t *list
        int32_t *first_hits
        vq_integers_hit *hits
        Py_ssize_t hit_capacity
        int64_t n_compared

    ctypedef struct vq_integers_typed:
        void (*quantize)(const vq_obs *, Py_ssize_t, const vq_code_book *, const vq_integers_book *, float *,
                         vq_integers_rows *) noexcept nogil
        void (*assign)(const vq_obs *, Py_ssize_t, const vq_code_book *, const vq_integers_book *,
                       const vq_integers_rows *, const vq_integers_bounds *, vq_scratch *, vq_integers_scratch *, int,
                       int32_t *) noexcept nogil

    ctypedef struct vq_integers_kernels:
        int quad
        void (*arrange)(const vq_code_book *, int, Py_ssize_t, float *, vq_integers_book *) noexcept nogil
        void (*pack)(const vq_code_book *, Py_ssize_t, Py_ssize_t, vq_integers_book *) noexcept nogil
        void (*follow)(const vq_code_book *, Py_ssize_t, Py_ssize_t, const vq_integers_history *,
                       vq_integers_book *) noexcept nogil
        void (*project)(const float *, Py_ssize_t, Py_ssize_t, const float *, Py_ssize_t, float *) noexcept nogil
        vq_integers_typed *typed


# What the scan of a block needs to know of the round.
cdef struct IntegersRound:
    bint warm
    bint first
    bint quantize


cdef class Integers:
    cdef const vq_integers_kernels *kernels
    cdef const vq_integers_typed *typed
    cdef readonly Py_ssize_t n_obs, n_features, n_codes, block_rows
    cdef int workers
    cdef vq_integers_book book
    cdef vq_integers_history history
    cdef vq_integers_scratch *scratch
    cdef vq_integers_rows *rows
    cdef vq_integers_rows kept
    cdef uint16_t *lower
    cdef float *bound_units
    cdef float *upper
    cdef float *dists
    cdef int64_t *n_needed
    cdef char *memory
    cdef Py_ssize_t n_bytes
    cdef readonly bint keeps_rows, keeps_bounds, keeps_second
    cdef bint quantized
    cdef Py_ssize_t n_rounds
    cdef IntegersRound round

    cdef int set_directions(self, directions, double error) except -1
    cdef void plan_bounds(self, Py_ssize_t left, bint forced) noexcept
    cdef Py_ssize_t second_bytes(self) noexcept nogil
    cdef Py_ssize_t layout(self, char *base) noexcept
    cdef vq_integers_rows layout_rows(self, char **cursor, Py_ssize_t n) noexcept
    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept
    cdef void set_codes(self, vq_team *team, const vq_code_book *book) noexcept nogil
    cdef void arrange_part(self, int level, Py_ssize_t part, const vq_code_book *book) noexcept nogil
    cdef int workers_for(self, Py_ssize_t n_codes) noexcept nogil
    cdef void pack(self, vq_team *team, const vq_code_book *book, bint follow, bint warm, bint keeps_scale,
                   Py_ssize_t n_moved) noexcept nogil
    cdef void pack_part(self, Py_ssize_t part, const vq_code_book *book) noexcept nogil
    cdef double compared(self, Py_ssize_t n_rows) noexcept nogil
    cdef void run_block(self, const vq_obs *obs, Py_ssize_t block, Py_ssize_t n_rows, const vq_code_book *book,
                        vq_scratch *exact, int worker, int32_t *codes) noexcept nogil


cdef Integers new_integers(const vq_kernels *kernels, int obs_type, Py_ssize_t n_obs, Py_ssize_t n_features,
                           Py_ssize_t n_codes, Py_ssize_t block_rows, int workers, Py_ssize_t rounds, bint forced,
                           directions)
