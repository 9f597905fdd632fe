"""Memory of the drivers; the words are in memory.h."""


cdef extern from "memory.h" nogil:
    void *vq_take(char **cursor, Py_ssize_t n_bytes)
    void *vq_allocate(Py_ssize_t n_bytes)
    void vq_release(void *memory, Py_ssize_t n_bytes)
