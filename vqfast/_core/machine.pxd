cimport numpy as cnp

from .kernels cimport vq_kernels, vq_obs


cdef bint view_obs(cnp.ndarray obs, vq_obs *view)
cdef const vq_kernels *kernels_of(isa) except NULL
