/* Threads that walk through the phases of a step together.

   A phase is a number of chunks, and whoever is free takes the next; when all are done the phase is over. No thread
   waits for another to arrive, only for chunks that were taken: one that the system lets sleep holds up nothing but its
   own chunk, and one that wakes late finds the earlier phases done and helps with the rest.

   The gate holds the step's number, whether it is open, and how many helpers are inside. The thread that leads opens
   it, and after the last phase closes it and waits until nobody is inside: what a step points to is never looked at
   after its end. */

#ifndef AWSLLM_TEAM_H
#define AWSLLM_TEAM_H

#include "model.h"
#include <stdatomic.h>
#include <time.h>

enum { MAX_THREADS = 64 };
#define OPEN (1u << 15)
#define INSIDE (OPEN - 1)

typedef struct {
    _Atomic uint32_t next, done;
#ifdef PROFILE /* when it was over, and for how long threads waited for that: `benchmarks/local/phases.py` reads both */
    _Atomic int64_t ended, waited;
    uint32_t apart[10];
#else
    uint32_t apart[14]; /* a line of its own */
#endif
} Phase;

typedef struct {
    _Atomic uint64_t gate; /* the step's number << 16, OPEN, how many are inside */
    uint64_t apart[7];
    _Atomic uint32_t closed, asleep; /* how many helpers wait outside, to be woken by other means */
    int32_t threads, phase_count;
    Job job;
    Phase *phases;
} Team;

typedef struct {
    Team *team;
    Phase *phase;
} Walker;

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

typedef struct {
    int64_t since;
    uint32_t looks;
} Patience;

/* Spins for half a millisecond, then sleeps between looks. Gives the nanoseconds waited so far. */
static inline int64_t wait_a_little(Patience *p) {
    if (++p->looks % 64) {
        relax();
        return 0;
    }
    int64_t t = now();
    if (!p->since)
        p->since = t;
    if (t - p->since > 500000)
        nanosleep(&(struct timespec){0, 50000}, 0);
    return t - p->since;
}

/* The next chunk of the phase, or -1. */
static inline int64_t take(const Walker *w, int64_t total) {
    if (atomic_load_explicit(&w->phase->next, memory_order_relaxed) >= total)
        return -1;
    int64_t chunk = atomic_fetch_add_explicit(&w->phase->next, 1, memory_order_relaxed);
    return chunk < total ? chunk : -1;
}

static inline void complete(const Walker *w) {
    atomic_fetch_add_explicit(&w->phase->done, 1, memory_order_release);
}

/* Waits until all chunks of the phase are done, and goes on to the next. */
static inline void settle(Walker *w, int64_t total) {
    Patience patience = {0, 0};
#ifdef PROFILE
    int64_t since = now(), never = 0;
#endif
    while (atomic_load_explicit(&w->phase->done, memory_order_acquire) < total)
        wait_a_little(&patience);
#ifdef PROFILE
    int64_t over = now();
    atomic_compare_exchange_strong(&w->phase->ended, &never, over);
    atomic_fetch_add(&w->phase->waited, over - since);
#endif
    w->phase++;
}

#define EACH_CHUNK(walker, chunk, total) for (int64_t chunk; (chunk = take(walker, total)) >= 0; complete(walker))

#endif
