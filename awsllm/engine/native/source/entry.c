/* What Python calls: which kernel this processor can run, and a step by a team of threads. */

#include "team.h"

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

enum { LAYOUT = 5, PHASES_BEYOND = 4, PHASES_OF_LAYER = 18 };

typedef void (*Walk)(Team *, int32_t);

typedef struct {
    const char *name;
    Walk walk;
    int64_t (*room)(const Job *, int32_t);
} Kernel;

#define DECLARE(name) \
    void walk_##name(Team *, int32_t); \
    int64_t room_##name(const Job *, int32_t);
#if defined(__x86_64__)
DECLARE(avx512)
DECLARE(avx2)
#elif defined(__aarch64__)
DECLARE(neon)
#endif

static const Kernel KERNELS[] = {
#if defined(__x86_64__)
    {"avx512", walk_avx512, room_avx512},
    {"avx2", walk_avx2, room_avx2},
#elif defined(__aarch64__)
    {"neon", walk_neon, room_neon},
#endif
    {0, 0, 0},
};

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
static int has_dot_products(void) {
    return (getauxval(AT_HWCAP) & (1ul << 20)) != 0; /* HWCAP_ASIMDDP */
}
#elif defined(__aarch64__)
static int has_dot_products(void) {
    return 1; /* Apple's processors, and Windows machines of our time */
}
#endif

#if defined(__x86_64__)
#include <cpuid.h>
/* By hand: the __builtin_cpu_supports of some compilers' own runtime libraries knows nothing. */
static int has(uint32_t word, int bit) {
    return word >> bit & 1;
}

static int runs(int n) {
    uint32_t a, b, c, d, wide, vnni, kept, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 12) || !has(c, 27) || !has(c, 28) || !has(c, 29))
        return 0; /* FMA, what the system keeps of registers, AVX, F16C */
    if (!__get_cpuid_count(7, 0, &a, &wide, &vnni, &d) || !has(wide, 5)) /* AVX2 */
        return 0;
    __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    if (n == 0) /* AVX-512 F, DQ, BW, VL and VNNI */
        return (kept & 0xe6) == 0xe6 && has(wide, 16) && has(wide, 17) && has(wide, 30) && has(wide, 31) && has(vnni, 11);
    return n == 1 && (kept & 6) == 6;
}
#else
static int runs(int n) {
    if (n == 0)
        return has_dot_products();
    return 0;
}
#endif

/* How weights lie and what the structures hold; another number is another library. */
PUBLIC int32_t awsllm_layout(void) {
    return LAYOUT;
}

/* The name of the n-th kernel, the fastest first; null after the last. */
PUBLIC const char *awsllm_kernel(int32_t n) {
    return KERNELS[n].name;
}

/* Whether this processor can run it. */
PUBLIC int32_t awsllm_runs(int32_t n) {
    return runs(n);
}

/* The bytes of scratch that a job takes. */
PUBLIC int64_t awsllm_room(int32_t kernel, const Job *job, int32_t threads) {
    return KERNELS[kernel].room(job, threads);
}

/* The phases that a team needs for a model of so many layers. */
PUBLIC int32_t awsllm_phases(int64_t layers) {
    return (int32_t)(layers * PHASES_OF_LAYER + PHASES_BEYOND);
}

/* Begins a step of `team->job`. Gives how many helpers are asleep. */
PUBLIC uint32_t awsllm_open(Team *team) {
    for (int32_t n = 0; n < team->phase_count; n++) {
        atomic_store_explicit(&team->phases[n].next, 0, memory_order_relaxed);
        atomic_store_explicit(&team->phases[n].done, 0, memory_order_relaxed);
    }
    uint64_t step = (atomic_load(&team->gate) >> 16) + 1;
    atomic_store(&team->gate, step << 16 | OPEN);
    return atomic_load(&team->asleep);
}

/* Takes part in the step that was opened, until it is over for all. */
PUBLIC void awsllm_lead(Team *team, int32_t kernel) {
    KERNELS[kernel].walk(team, 0);
    atomic_fetch_and(&team->gate, ~(uint64_t)OPEN);
    Patience patience = {0, 0};
    while (atomic_load_explicit(&team->gate, memory_order_acquire) & INSIDE)
        wait_a_little(&patience);
}

/* Whether a step is open that is not the one known; if so, this thread is inside. */
static int enter(Team *team, uint64_t *known) {
    uint64_t gate = atomic_load(&team->gate);
    while (gate & OPEN && gate >> 16 != *known)
        if (atomic_compare_exchange_weak(&team->gate, &gate, gate + 1)) {
            *known = gate >> 16;
            return 1;
        }
    return 0;
}

/* Helps with one step after another. Gives 1 once the team is closed, 0 after so many nanoseconds without a step: then
   call again when `awsllm_open` says that someone is asleep. */
PUBLIC int32_t awsllm_help(Team *team, int32_t kernel, int32_t thread, int64_t idle) {
    uint64_t known = 0;
    for (;;) {
        Patience patience = {0, 0};
        while (!enter(team, &known)) {
            if (atomic_load(&team->closed))
                return 1;
            if (wait_a_little(&patience) < idle)
                continue;
            atomic_fetch_add(&team->asleep, 1);
            uint64_t gate = atomic_load(&team->gate);
            if (gate & OPEN && gate >> 16 != known) { /* opened meanwhile, perhaps by one who saw nobody asleep */
                atomic_fetch_sub(&team->asleep, 1);
                patience = (Patience){0, 0};
                continue;
            }
            return 0;
        }
        KERNELS[kernel].walk(team, thread);
        atomic_fetch_sub(&team->gate, 1);
    }
}

/* A helper that was asleep is awake again. */
PUBLIC void awsllm_wake(Team *team) {
    atomic_fetch_sub(&team->asleep, 1);
}

PUBLIC void awsllm_close(Team *team) {
    atomic_store(&team->closed, 1);
}
