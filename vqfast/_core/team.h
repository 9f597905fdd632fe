/* How the threads of a driver share the parts of a job, and how they end it.
 *
 * Parts are handed out one at a time, so that a thread that comes late takes fewer. At the
 * end the first thread waits for the others before it enters OpenMP's barrier: it spins
 * for some microseconds and then sleeps in short steps. The barrier itself spins for
 * milliseconds, and a thread that was woken on the same CPU cannot run meanwhile: a small
 * job after a pause took 4.3 ms with the plain barrier and 0.1 ms with this one.
 */
#ifndef VQ_TEAM_H
#define VQ_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

#ifdef _OPENMP
#include <omp.h>
#define VQ_OPENMP _OPENMP
#else
#define VQ_OPENMP 0
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_in_parallel(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
#endif

#ifdef _WIN32
#include <windows.h>
#define VQ_NAP() Sleep(0)
#else
#include <time.h>
#define VQ_NAP() nanosleep(&(struct timespec){0, 1000}, NULL)
#endif

enum { VQ_SPINS = 2000 };

typedef struct {
    atomic_llong next;
    long long last;
    atomic_int n_done;
    atomic_int stopped;
} vq_team;

static inline void vq_team_begin(vq_team *team, ptrdiff_t first, ptrdiff_t last)
{
    atomic_init(&team->next, first);
    atomic_init(&team->n_done, 0);
    atomic_init(&team->stopped, 0);
    team->last = last;
}

/* Hand out no more parts. */
static inline void vq_team_stop(vq_team *team) { atomic_store(&team->stopped, 1); }

static inline int vq_team_stopped(vq_team *team) { return atomic_load(&team->stopped); }

/* The next part, or -1 when there is none. */
static inline ptrdiff_t vq_team_next(vq_team *team)
{
    long long part = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed);
    return part < team->last && !vq_team_stopped(team) ? (ptrdiff_t)part : -1;
}

/* To be called by every thread as the last thing in a parallel region. */
static inline void vq_team_end(vq_team *team, int thread)
{
    atomic_fetch_add(&team->n_done, 1);
    if (thread == 0)
        for (int i = 0; atomic_load(&team->n_done) < omp_get_num_threads(); i++)
            if (i > VQ_SPINS)
                VQ_NAP();
}

#endif
