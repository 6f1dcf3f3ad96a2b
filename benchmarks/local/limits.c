/* What this machine can do at most, by one thread: called by as many threads as compute, each on data of its own. */

#include "tiles.h"

#define PUBLIC __attribute__((visibility("default")))

/* Reads everything, so many times. What is given depends on all of it. */
PUBLIC int32_t read_all(const uint8_t *at, int64_t bytes, int64_t times) {
    Integers parts[8] = {0};
    for (int64_t t = 0; t < times; t++)
        for (int64_t i = 0; i + 512 <= bytes; i += 512)
            for (int n = 0; n < 8; n++) {
                Integers v;
                memcpy(&v, at + i + 64 * n, sizeof v);
                parts[n] ^= v;
            }
    for (int n = 1; n < 8; n++)
        parts[0] ^= parts[n];
    int32_t all = 0;
    for (int n = 0; n < 16; n++)
        all ^= parts[0][n];
    return all;
}

/* One tile of 4 bits times so many rows of activations, at most eight, which stay in the nearest cache. */
PUBLIC void tile_loop(const uint8_t *tile, const int8_t *values, const float *scale, int64_t groups, int64_t rows,
                      float *out, int64_t times) {
    Matrix w = {tile, 0, 4, 1, groups};
    Activations x = {(int8_t *)values, (float *)scale, groups};
    for (int64_t t = 0; t < times; t++) {
        multiply_tile(&w, 0, x, rows, out, TILE);
        __asm__ volatile("" ::: "memory");
    }
}

enum { SUMS = 12 }; /* side by side, as many as the units need to be always busy */

/* Dot products of bytes and nothing else, in registers. Gives the operations of a turn: a product and a sum each. */
PUBLIC int64_t products(int64_t times) {
#if defined(__AVX512VNNI__)
    __m512i sums[SUMS], a = _mm512_set1_epi8(1);
#pragma GCC unroll 12
    for (int n = 0; n < SUMS; n++)
        sums[n] = _mm512_set1_epi32(n);
    for (int64_t t = 0; t < times; t++)
#pragma GCC unroll 12
        for (int n = 0; n < SUMS; n++) {
            sums[n] = _mm512_dpbusd_epi32(sums[n], a, a);
            __asm__ volatile("" : "+v"(sums[n]));
        }
    return SUMS * 64 * 2;
#elif defined(__AVX2__)
    __m256i sums[SUMS], a = _mm256_set1_epi8(1);
#pragma GCC unroll 12
    for (int n = 0; n < SUMS; n++)
        sums[n] = _mm256_set1_epi16((int16_t)n);
    for (int64_t t = 0; t < times; t++)
#pragma GCC unroll 12
        for (int n = 0; n < SUMS; n++) {
            __m256i b = a;
            __asm__ volatile("" : "+x"(b));
            sums[n] = _mm256_add_epi16(sums[n], _mm256_maddubs_epi16(b, a));
            __asm__ volatile("" : "+x"(sums[n]));
        }
    return SUMS * 32 * 2;
#elif defined(__ARM_FEATURE_DOTPROD)
    int32x4_t sums[SUMS];
    int8x16_t a = vdupq_n_s8(1);
#pragma GCC unroll 12
    for (int n = 0; n < SUMS; n++)
        sums[n] = vdupq_n_s32(n);
    for (int64_t t = 0; t < times; t++)
#pragma GCC unroll 12
        for (int n = 0; n < SUMS; n++) {
            sums[n] = vdotq_s32(sums[n], a, a);
            __asm__ volatile("" : "+w"(sums[n]));
        }
    return SUMS * 16 * 2;
#endif
}
