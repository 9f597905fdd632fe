from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t, uint8_t

from .kernels cimport vq_code_book, vq_kernels, vq_obs, vq_scratch
from .team cimport vq_team

cdef extern from "int8.h" nogil:
    enum:
        VQ_INT8_VECTOR
        VQ_INT8_ROWS
        VQ_INT8_SLOTS
        VQ_INT8_SPAN
        VQ_INT8_FEATURES
        VQ_INT8_FACTS
        VQ_INT8_HITS

    ctypedef struct vq_int8_book:
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

    ctypedef struct vq_int8_rows:
        uint8_t *bytes
        float *units
        float *errors
        float *norms
        float *sq_norms

    ctypedef struct vq_int8_history:
        float *snapshots
        int n_slots
        int last
        int slot
        float *code_ways
        float *ways
        float *steps

    ctypedef struct vq_int8_bounds:
        uint16_t *lower
        Py_ssize_t row_step
        float *units
        float *upper
        int64_t *n_needed
        const float *ways
        const float *steps
        int slot
        int reused
        int first_round

    ctypedef struct vq_int8_hit:
        pass

    ctypedef struct vq_int8_scratch:
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
        int32_t *list
        vq_int8_hit *hits
        Py_ssize_t hit_capacity
        int64_t n_compared

    ctypedef struct vq_int8_typed:
        void (*quantize)(const vq_obs *, Py_ssize_t, const vq_code_book *, Py_ssize_t, float *,
                         vq_int8_rows *) noexcept nogil
        void (*assign)(const vq_obs *, Py_ssize_t, const vq_code_book *, const vq_int8_book *, const vq_int8_rows *,
                       const vq_int8_bounds *, vq_scratch *, vq_int8_scratch *, int, int32_t *) noexcept nogil

    ctypedef struct vq_int8_kernels:
        void (*arrange)(const vq_code_book *, float *, vq_int8_book *) noexcept nogil
        void (*pack)(const vq_code_book *, Py_ssize_t, Py_ssize_t, vq_int8_book *) noexcept nogil
        void (*follow)(const vq_code_book *, Py_ssize_t, Py_ssize_t, const vq_int8_history *,
                       vq_int8_book *) noexcept nogil
        vq_int8_typed *typed


# What the scan of a block needs to know of the round.
cdef struct Int8Round:
    bint warm
    bint first
    bint quantize


cdef class Int8:
    cdef const vq_int8_kernels *kernels
    cdef const vq_int8_typed *typed
    cdef readonly Py_ssize_t n_obs, n_features, n_codes, block_rows
    cdef int workers
    cdef vq_int8_book bytes
    cdef vq_int8_history history
    cdef vq_int8_scratch *scratch
    cdef vq_int8_rows *rows
    cdef vq_int8_rows kept
    cdef uint16_t *lower
    cdef float *bound_units
    cdef float *upper
    cdef int64_t *n_needed
    cdef char *memory
    cdef Py_ssize_t n_bytes
    cdef readonly bint keeps_rows, keeps_bounds
    cdef bint quantized
    cdef Py_ssize_t n_rounds
    cdef Int8Round round

    cdef Py_ssize_t layout(self, char *base) noexcept
    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept
    cdef void set_codes(self, const vq_code_book *book) noexcept nogil
    cdef void pack(self, const vq_code_book *book, bint follow, bint warm, bint keeps_scale) noexcept nogil
    cdef void pack_parts(self, vq_team *team, int worker, const vq_code_book *book, bint follow) noexcept nogil
    cdef double compared(self, Py_ssize_t n_rows) noexcept nogil
    cdef void run_block(self, const vq_obs *obs, Py_ssize_t block, Py_ssize_t n_rows, const vq_code_book *book,
                        vq_scratch *exact, int worker, int32_t *codes) noexcept nogil


cdef Int8 new_int8(const vq_kernels *kernels, int obs_type, Py_ssize_t n_obs, Py_ssize_t n_features,
                   Py_ssize_t n_codes, Py_ssize_t block_rows, int workers, Py_ssize_t rounds, bint forced)
