"""Sharing the parts of a job between threads; the words are in team.h."""


cdef extern from "team.h" nogil:
    int VQ_OPENMP
    int omp_get_max_threads()
    int omp_get_num_procs()
    int omp_in_parallel()

    ctypedef struct vq_team:
        long long last

    void vq_team_begin(vq_team *team, int workers, Py_ssize_t first, Py_ssize_t last)
    void vq_team_enter(vq_team *team, int worker)
    Py_ssize_t vq_team_next(vq_team *team, int worker)
    void vq_team_stop(vq_team *team)
    bint vq_team_stopped(vq_team *team)
    int vq_team_threads(int workers)
    long long vq_nanoseconds()
    ctypedef void (*vq_part)(void *context, Py_ssize_t part, int worker) noexcept nogil
    void vq_team_run(vq_team *team, int workers, vq_part run, void *context, Py_ssize_t n)
    void vq_team_lead(vq_team *team, int workers, void (*lead)(void *) noexcept nogil, void *context)
