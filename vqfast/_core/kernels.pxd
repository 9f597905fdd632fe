"""The C contract as Cython sees it; the words are in kernels/kernels.h."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t


cdef extern from "kernels.h" nogil:
    enum:
        VQ_FLOAT32
        VQ_FLOAT64
        VQ_DIRECT
        VQ_LANES
        VQ_PANELS
        VQ_INTEGERS
        VQ_LANES_FEATURES
        VQ_EXACT_GROUP

    ctypedef struct vq_obs:
        const void *data
        Py_ssize_t row_stride
        Py_ssize_t feature_stride

    ctypedef struct vq_code_book:
        Py_ssize_t n_codes
        Py_ssize_t n_features
        const double *code_book
        double *shift
        float *shift_f32
        double scale
        double *sq_norms
        float *scores
        float *half_norms
        float *rows
        double *exact
        int16_t *pairs
        int32_t *starts
        const uint8_t *moved

    ctypedef struct vq_candidates:
        pass

    ctypedef struct vq_scratch:
        float *rows
        float *bands
        float *limits
        vq_candidates *candidates
        double *row
        double *sq_dists
        float *sq_norms
        float *upper
        float *minima
        int32_t *list

    ctypedef struct vq_bounds:
        float *lower
        Py_ssize_t row_step
        const float *drifts
        int first_round

    ctypedef struct vq_typed_kernels:
        double (*magnitude)(const vq_obs *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*extents)(const vq_obs *, Py_ssize_t, Py_ssize_t, double *, double *) noexcept nogil
        void (**assign)(const vq_obs *, Py_ssize_t, const vq_code_book *, vq_scratch *, int, int32_t *) noexcept nogil
        void (*assign_bounded)(const vq_obs *, Py_ssize_t, const vq_code_book *, vq_scratch *, const vq_bounds *,
                               int32_t *) noexcept nogil
        void (*sq_dists)(const vq_obs *, Py_ssize_t, const vq_code_book *, const int32_t *, double *,
                         double *) noexcept nogil
        Py_ssize_t (*nearer)(const vq_obs *, const int32_t *, Py_ssize_t, Py_ssize_t, const double *, const double *,
                             double *, int32_t *, double *) noexcept nogil
        void (*add_rows)(const vq_obs *, const int32_t *, Py_ssize_t, Py_ssize_t, const double *,
                         double *) noexcept nogil
        void (*move_rows)(const vq_obs *, const int32_t *, Py_ssize_t, Py_ssize_t, const double *, double, double,
                          int64_t *) noexcept nogil
        Py_ssize_t (*move_changed)(const vq_obs *, Py_ssize_t, Py_ssize_t, const int32_t *, int32_t *, double, double,
                                   int64_t *, int64_t *, uint8_t *) noexcept nogil

    ctypedef struct vq_kernels:
        const char *name
        Py_ssize_t panel
        Py_ssize_t tile_rows
        void (*pack_shift)(vq_code_book *, int) noexcept nogil
        void (*pack_sq_norms)(vq_code_book *, Py_ssize_t, Py_ssize_t) noexcept nogil
        int (*pack_scale)(vq_code_book *, int, int) noexcept nogil
        void (*pack_codes)(vq_code_book *, int, Py_ssize_t, Py_ssize_t, float *) noexcept nogil
        void (*assign_few)(const float *, Py_ssize_t, const float *, Py_ssize_t, Py_ssize_t, double *, int32_t *,
                           double *) noexcept nogil
        Py_ssize_t (*assign_few_codes)(const vq_obs *, Py_ssize_t, const vq_code_book *, double *, int32_t *,
                                       float *) noexcept nogil
        void (*roots)(const double *, Py_ssize_t, int, void *) noexcept nogil
        void (*fixed_mean)(const int64_t *, Py_ssize_t, double, double, double, double *) noexcept nogil
        double (*potential)(const double *, const double *, Py_ssize_t) noexcept nogil
        double (*peak)(Py_ssize_t, float *) noexcept nogil
        const void *integers  # vq_integers_kernels, integers.pxd
        const void *seeds  # vq_seeds_kernels, seeds.pxd
        const void *tiles  # vq_tile_kernels, tiles.pxd
        const void *lvq  # vq_lvq_kernels [2], lvq.pxd
        vq_typed_kernels *typed
        const void *search  # search.pxd

    const vq_kernels *vq_kernels_named(const char *)
    const vq_kernels *vq_kernels_best()
    const char *vq_isa_built(int)
