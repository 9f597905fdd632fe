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
#ifdef _WIN32
__declspec(dllimport) int __stdcall SwitchToThread(void);
__declspec(dllimport) void __stdcall Sleep(unsigned long milliseconds);
#else
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

/* What a worker does with a part of a round. */
typedef void vq_part(void *context, ptrdiff_t part, int worker);

typedef struct {
    atomic_llong next;
    atomic_llong last;
    atomic_llong n_done; /* of all rounds, see vq_team_run */
    long long base;      /* of a round: what next was before its first part */
    atomic_int round_workers;
    vq_part *run;
    void *context;
    int workers;
    atomic_int stopped;
    atomic_int n_started;
    atomic_int cpu; /* of the first thread, when the job or the round began */
} vq_team;

static inline void vq_team_note_cpu(vq_team *team)
{
#ifdef __linux__
    atomic_store_explicit(&team->cpu, sched_getcpu(), memory_order_relaxed);
#else
    (void)team;
#endif
}

static inline void vq_team_begin(vq_team *team, int workers, ptrdiff_t first, ptrdiff_t last)
{
    team->workers = workers;
    team->base = 0;
    atomic_init(&team->next, first);
    atomic_init(&team->last, last);
    atomic_init(&team->n_done, last);
    atomic_init(&team->round_workers, workers);
    atomic_init(&team->stopped, 0);
    atomic_init(&team->n_started, 0);
    vq_team_note_cpu(team);
}

static inline long long vq_nanoseconds(void)
{
    struct timespec now;
#ifdef _WIN32
    timespec_get(&now, TIME_UTC); /* it may be set: signals are then looked at early or late */
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Nanoseconds that a thread spins before it steps aside. */
enum { PATIENCE = 20000 };

/* A scheduler may wake a worker on the CPU of the first thread though others are idle, or busy with one
 * thread each, and leave it waiting there for the whole of a short job. One that finds itself on that CPU
 * moves to another one, with its affinity as it was (should the second call fail, it keeps all CPUs but one). */
static inline void vq_team_keep_apart(vq_team *team)
{
#ifdef __linux__
    const int cpu = atomic_load_explicit(&team->cpu, memory_order_relaxed);
    cpu_set_t allowed, others;
    if (cpu >= 0 && sched_getcpu() == cpu && sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        others = allowed;
        CPU_CLR(cpu, &others);
        if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
            sched_setaffinity(0, sizeof allowed, &allowed);
    }
#else
    (void)team;
#endif
}

/* To be called by every thread as the first thing in a parallel region. The first thread waits for the
 * others, twice as long as a worker takes that has a CPU (5 to 10 us), and then steps aside once, which
 * costs 60 us. */
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
        vq_team_keep_apart(team);
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

/* The next part for a worker, or -1 when there is none. Numbers are never handed out past the last, so
 * that those of the next round go on from there: a thread that comes late cannot mistake one round for
 * another. */
static inline ptrdiff_t vq_team_next(vq_team *team, int worker)
{
    const long long last = atomic_load_explicit(&team->last, memory_order_acquire);
    if (worker >= atomic_load_explicit(&team->round_workers, memory_order_relaxed) || vq_team_stopped(team))
        return -1;
    long long next = atomic_load_explicit(&team->next, memory_order_relaxed);
    while (next < last)
        if (atomic_compare_exchange_weak_explicit(&team->next, &next, next + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return (ptrdiff_t)(next - team->base);
    return -1;
}

/* Threads to ask for; those with a number of workers or above get no part. */
static inline int vq_team_threads(int workers) { return workers + (workers >= omp_get_num_procs()); }

/* ---- a team for many rounds ------------------------------------------------------
 *
 * Where rounds are short (a team of its own takes 20 to 90 us), the threads stay together: the first
 * one leads, doing what there is to do in between, and calls vq_team_run for whatever has parts.
 */

/* Between two rounds a thread spins for PATIENCE, then lets others have the CPU, and from WEARY on sleeps
 * for a part of the time that it has waited, up to LONGEST_SLEEP. */
enum { WEARY = 1000000, LONGEST_SLEEP = 1000000 };

static inline void vq_team_pause(long long *since)
{
    const long long now = vq_nanoseconds(), waited = *since ? now - *since : 0;
    if (!*since)
        *since = now;
    if (waited <= PATIENCE)
        return;
#ifdef _WIN32
    if (waited > WEARY)
        Sleep(1);
    else
        SwitchToThread();
#else
    if (waited > WEARY)
        nanosleep(&(struct timespec){0, waited / 16 < LONGEST_SLEEP ? (long)(waited / 16) : LONGEST_SLEEP}, NULL);
    else
        sched_yield();
#endif
}

/* n parts by up to so many workers, which are done when it returns, but for those left by vq_team_stop. One
 * part alone is not worth waking anybody. */
static inline void vq_team_run(vq_team *team, int workers, vq_part *run, void *context, ptrdiff_t n)
{
    if (workers == 1 || team->workers == 1 || n == 1) {
        for (ptrdiff_t part = 0; part < n && !vq_team_stopped(team); part++)
            run(context, part, 0);
        return;
    }
    const long long base = atomic_load_explicit(&team->last, memory_order_relaxed);
    team->base = base;
    team->run = run;
    team->context = context;
    vq_team_note_cpu(team);
    atomic_store_explicit(&team->round_workers, workers, memory_order_relaxed);
    atomic_store_explicit(&team->last, base + n, memory_order_release);
    for (ptrdiff_t part = vq_team_next(team, 0); part >= 0; part = vq_team_next(team, 0)) {
        run(context, part, 0);
        atomic_fetch_add_explicit(&team->n_done, 1, memory_order_release);
    }
    const long long left = base + n - atomic_exchange(&team->next, base + n); /* after vq_team_stop */
    atomic_fetch_add_explicit(&team->n_done, left, memory_order_relaxed);
    long long since = 0;
    while (atomic_load_explicit(&team->n_done, memory_order_acquire) < base + n)
        vq_team_pause(&since);
}

static inline void vq_team_serve(vq_team *team, int worker)
{
    long long since = 0;
    while (worker < team->workers && !vq_team_stopped(team)) {
        const ptrdiff_t part = vq_team_next(team, worker);
        if (part >= 0) {
            if (since) /* the first one of a round */
                vq_team_keep_apart(team);
            team->run(team->context, part, worker);
            atomic_fetch_add_explicit(&team->n_done, 1, memory_order_release);
            since = 0;
        } else
            vq_team_pause(&since);
    }
}

/* Begins a team, lets the calling thread do lead(context), and ends it. */
static inline void vq_team_lead(vq_team *team, int workers, void (*lead)(void *context), void *context)
{
    vq_team_begin(team, VQ_OPENMP ? workers : 1, 0, 0);
    if (team->workers == 1) { /* no OpenMP: safe in a forked child */
        lead(context);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel num_threads(vq_team_threads(workers))
    {
        const int worker = omp_get_thread_num();
        vq_team_enter(team, worker);
        if (worker == 0) {
            lead(context);
            vq_team_stop(team);
        } else
            vq_team_serve(team, worker);
    }
#endif
}

#endif
