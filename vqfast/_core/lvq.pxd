"""The contract of learning vector quantization as Cython sees it; the words are in kernels/lvq.h."""
from libc.stdint cimport int32_t, int64_t, uint64_t

from .kernels cimport vq_obs

cdef extern from "lvq.h" nogil:
    enum:
        VQ_LVQ_LINE
        VQ_LVQ_GROUP
        VQ_LVQ1
        VQ_OLVQ1
        VQ_PAIRS
        VQ_GLVQ
        VQ_GMLVQ
        VQ_RSLVQ
        VQ_LVQ_PAIR
        VQ_LVQ_ATTRACT
        VQ_LVQ_KEEP

    ctypedef struct vq_lvq_rule:
        double rate
        double window
        double epsilon
        int when_correct
        double beta
        double matrix_rate
        double variance

    ctypedef struct vq_lvq_model:
        Py_ssize_t n_prototypes
        Py_ssize_t n_features
        Py_ssize_t n_classes
        Py_ssize_t width
        Py_ssize_t rank_width
        void *prototypes
        const int32_t *labels
        const int32_t *starts
        double *rates
        void *matrix
        double scale
        void *obs
        void *sq_dists
        double *factors
        void *differences
        void *projections
        void *moves
        int32_t *foreseen

    ctypedef struct vq_lvq_kernels:
        void (**train)(vq_lvq_model *, const vq_lvq_rule *, const vq_obs *, const int32_t *, const int64_t *,
                       const double *, Py_ssize_t) noexcept nogil
        double (*spread)(vq_lvq_model *, const void *) noexcept nogil
        void (*hashes)(const vq_obs *, Py_ssize_t, Py_ssize_t, const int32_t *, uint64_t *) noexcept nogil
        void (*class_sq_dists)(const vq_obs *, Py_ssize_t, Py_ssize_t, const double *, const int32_t *, Py_ssize_t,
                               double *, double *) noexcept nogil
        void (*posteriors)(const vq_obs *, Py_ssize_t, Py_ssize_t, const double *, const int32_t *, Py_ssize_t, double,
                           double *, double *, double *) noexcept nogil
        void (*project)(const vq_obs *, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t, Py_ssize_t, double *,
                        double *) noexcept nogil
