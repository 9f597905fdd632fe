/* How the threads of a driver share the parts of a job.
 *
 * Parts are handed out one at a time, so that a thread that comes late takes fewer.
 *
 * A team as large as the machine asks OpenMP for one thread more, which takes no part:
 * libgomp's threads wait for each other by spinning, for milliseconds, unless there are
 * more of them than CPUs. Where the scheduler has put two of them on one CPU, or another
 * library's threads spin too, a job of 0.1 ms then took 4 to 8 ms; without spinning it
 * takes 0.03 ms more than its work, always, and the CPUs are free the moment it ends.
 */
#ifndef VQ_TEAM_H
#define VQ_TEAM_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#ifndef _WIN32
#include <sched.h>
#endif

#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#define VQ_OPENMP _OPENMP
#else
#define VQ_OPENMP 0
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_in_parallel(void) { return 0; }
static inline int omp_get_num_procs(void) { return 1; }
#endif

typedef struct {
    atomic_llong next;
    atomic_llong n_done; /* of a round, see vq_team_again */
    long long first;
    long long last;
    int workers;
    atomic_int stopped;
    atomic_int n_started;
    int cpu; /* of the first thread */
} vq_team;

static inline void vq_team_begin(vq_team *team, int workers, ptrdiff_t first, ptrdiff_t last)
{
    team->workers = workers;
    team->first = first;
    atomic_init(&team->next, first);
    atomic_init(&team->n_done, 0);
    atomic_init(&team->stopped, 0);
    atomic_init(&team->n_started, 0);
#ifdef __linux__
    team->cpu = sched_getcpu();
#endif
    team->last = last;
}

static inline long long vq_nanoseconds(void)
{
    struct timespec now;
#ifdef __linux__
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC); /* it may be set, which costs a team or two */
#endif
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Nanoseconds that a thread spins before it steps aside. */
enum { PATIENCE = 20000 };

/* To be called by every thread as the first thing in a parallel region.
 *
 * A scheduler may wake a worker on the CPU of the first thread though others are idle, and
 * leave it waiting there for the whole of a short job. So the first thread waits for the
 * others, twice as long as a worker takes that has a CPU (5 to 10 us), and then steps aside
 * once, which costs 60 us; a worker that finds itself on that CPU moves
 * to another one, with its affinity as it was (should the second call fail, it keeps all
 * CPUs but one).
 */
static inline void vq_team_enter(vq_team *team, int worker)
{
#ifdef __linux__
    if (worker == 0) {
        const long long end = vq_nanoseconds() + PATIENCE;
        while (atomic_load(&team->n_started) < team->workers - 1 && vq_nanoseconds() < end)
            ;
        if (atomic_load(&team->n_started) < team->workers - 1)
            nanosleep(&(struct timespec){0, 1000}, NULL);
    } else if (worker < team->workers) {
        cpu_set_t allowed, others;
        if (team->cpu >= 0 && sched_getcpu() == team->cpu && sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
            others = allowed;
            CPU_CLR(team->cpu, &others);
            if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
                sched_setaffinity(0, sizeof allowed, &allowed);
        }
        atomic_fetch_add(&team->n_started, 1);
    }
#else
    (void)team;
    (void)worker;
#endif
}

/* Hand out no more parts. */
static inline void vq_team_stop(vq_team *team) { atomic_store(&team->stopped, 1); }

static inline int vq_team_stopped(vq_team *team) { return atomic_load(&team->stopped); }

/* The next part for a worker, or -1 when there is none. */
static inline ptrdiff_t vq_team_next(vq_team *team, int worker)
{
    if (worker >= team->workers)
        return -1;
    long long part = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed);
    return part < team->last && !vq_team_stopped(team) ? (ptrdiff_t)part : -1;
}

/* Rounds of a team: the same parts again and again, with something to be done by the first thread in
 * between, where a round is so short that a team of its own (20 to 30 us) would take its time. The first
 * thread calls vq_team_next until there is none, with vq_team_done after each part, and vq_team_wait;
 * then all parts are done and what they read may change, until vq_team_again or vq_team_stop. The others
 * do what vq_team_serve gives them until it is -1. One that comes late misses some rounds, no more. */
static inline void vq_team_done(vq_team *team) { atomic_fetch_add_explicit(&team->n_done, 1, memory_order_release); }

static inline void vq_team_again(vq_team *team)
{
    atomic_store_explicit(&team->n_done, 0, memory_order_relaxed);
    atomic_store_explicit(&team->next, team->first, memory_order_release);
}

/* Spin for a while, then let others have the CPU. */
static inline void vq_team_pause(long long *since)
{
    const long long now = vq_nanoseconds();
    if (!*since)
        *since = now;
#ifndef _WIN32
    else if (now - *since > PATIENCE)
        sched_yield();
#endif
}

static inline void vq_team_wait(vq_team *team)
{
    long long since = 0;
    while (atomic_load_explicit(&team->n_done, memory_order_acquire) < team->last - team->first)
        vq_team_pause(&since);
}

static inline ptrdiff_t vq_team_serve(vq_team *team, int worker)
{
    long long since = 0;
    while (worker < team->workers && !vq_team_stopped(team)) {
        if (atomic_load_explicit(&team->next, memory_order_relaxed) < team->last) {
            const long long part = atomic_fetch_add_explicit(&team->next, 1, memory_order_acquire);
            if (part < team->last)
                return (ptrdiff_t)part;
        }
        vq_team_pause(&since);
    }
    return -1;
}

/* Parts for the next team, after one of at_once that began then. Where a team ends some threads wait
 * for others, so it should not be short; nor long, as signals are looked at in between. */
enum { SHORT_TEAM = 20000000, LONG_TEAM = 100000000 };
static inline ptrdiff_t vq_team_parts(ptrdiff_t at_once, long long began)
{
    const long long took = vq_nanoseconds() - began;
    return took < SHORT_TEAM ? 4 * at_once : took > LONG_TEAM ? (at_once + 3) / 4 : at_once;
}

/* Threads to ask for; those with a number of workers or above get no part. */
static inline int vq_team_threads(int workers) { return workers + (workers >= omp_get_num_procs()); }

#endif
