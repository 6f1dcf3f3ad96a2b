/* A tile of 16 rows of weights times some rows of activations. What a row of activations gives never depends on the
   others: sums of integers are exact, and floats are added group by group. */

#ifndef AWSLLM_TILES_H
#define AWSLLM_TILES_H

#include "model.h"
#include "vector.h"

enum { BLOCK = 8, AHEAD = 32 }; /* groups of weights that are fetched before they are needed */

/* Rows of activations, 8-bit: a value is scale * q. Eight rows lie together, group by group: their values (8, 32), and
   beside that the scale of each, and its total: scale times the sum of the group's q. */
typedef struct {
    int8_t *values;
    float *scale;
    int64_t groups;
} Activations;

INLINE int8_t *values_at(Activations a, int64_t row, int64_t group) {
    return a.values + ((row / BLOCK * a.groups + group) * BLOCK + row % BLOCK) * GROUP;
}

INLINE float *scale_at(Activations a, int64_t row, int64_t group) {
    return a.scale + (row / BLOCK * a.groups + group) * 2 * BLOCK + row % BLOCK;
}

/* The rows from `row` on, a multiple of eight. */
INLINE Activations rows_from(Activations a, int64_t row) {
    return (Activations){values_at(a, row, 0), scale_at(a, row, 0), a.groups};
}

INLINE void quantise_group(const float *from, Activations to, int64_t row, int64_t group) {
    Vector low = load(from), high = load(from + 16);
    float peak = largest(larger(magnitude(low), magnitude(high)));
    float inverse = peak > 0 ? 127.0f / peak : 0.0f;
    Integers a = nearest(low * splat(inverse)), b = nearest(high * splat(inverse));
    int8_t *values = values_at(to, row, group);
    store_bytes(values, a);
    store_bytes(values + 16, b);
    Integers both = a + b;
    int32_t count = 0;
    for (int i = 0; i < 16; i++)
        count += both[i];
    float *scale = scale_at(to, row, group);
    scale[0] = peak / 127.0f;
    scale[BLOCK] = scale[0] * (float)count;
}

/* Groups of a row; `from` is the first of them. */
INLINE void quantise(const float *from, Activations to, int64_t row, int64_t first, int64_t count) {
    for (int64_t g = 0; g < count; g++)
        quantise_group(from + g * GROUP, to, row, first + g);
}

INLINE int32_t four(const int8_t *at) {
    int32_t x;
    memcpy(&x, at, 4);
    return x;
}

/* Of each instruction set: how many rows of activations a tile takes at once, what products of a group are summed in,
   and `group4` and `group8`, which give the group's sums for `count` rows. 8-bit weights are summed with `OFFSET` added
   to each. */

#if defined(__AVX512VNNI__)

enum { ROWS = 8, OFFSET = 128 };
typedef __m512i Products;

INLINE Vector floats(Products p) {
    return (Vector)_mm512_cvtepi32_ps(p);
}

INLINE void group4(const uint8_t *w, const int8_t *x, const int count, Products *p) {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        p[m] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int h = 0; h < 4; h++) {
        __m512i both = _mm512_load_si512(w + 64 * h);
        __m512i a = _mm512_and_si512(both, low), b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 8
        for (int m = 0; m < count; m++) {
            const int8_t *at = x + m * GROUP + 8 * h;
            p[m] = _mm512_dpbusd_epi32(p[m], a, _mm512_set1_epi32(four(at)));
            p[m] = _mm512_dpbusd_epi32(p[m], b, _mm512_set1_epi32(four(at + 4)));
        }
    }
}

INLINE void group8(const uint8_t *w, const int8_t *x, const int count, Products *p) {
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        p[m] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int h = 0; h < 8; h++) {
        __m512i a = _mm512_load_si512(w + 64 * h);
#pragma GCC unroll 8
        for (int m = 0; m < count; m++)
            p[m] = _mm512_dpbusd_epi32(p[m], a, _mm512_set1_epi32(four(x + m * GROUP + 4 * h)));
    }
}

#elif defined(__AVX2__)

enum { ROWS = 4, OFFSET = 128 };
typedef struct {
    __m256i half[2];
} Products;

INLINE Vector floats(Products p) {
    Halves v;
    for (int i = 0; i < 2; i++)
        v.half[i] = _mm256_cvtepi32_ps(p.half[i]);
    return v.v;
}

/* Products of 4 bits and 8 come in pairs of at most 2 * 15 * 127, of which 16 bits hold the eight of a group. */
INLINE void group4(const uint8_t *w, const int8_t *x, const int count, Products *p) {
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
    for (int side = 0; side < 2; side++) {
        __m256i s[ROWS];
#pragma GCC unroll 4
        for (int m = 0; m < count; m++)
            s[m] = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int h = 0; h < 4; h++) {
            __m256i both = _mm256_loadu_si256((const __m256i *)(w + 64 * h + 32 * side));
            __m256i a = _mm256_and_si256(both, low), b = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#pragma GCC unroll 4
            for (int m = 0; m < count; m++) {
                const int8_t *at = x + m * GROUP + 8 * h;
                s[m] = _mm256_add_epi16(s[m], _mm256_maddubs_epi16(a, _mm256_set1_epi32(four(at))));
                s[m] = _mm256_add_epi16(s[m], _mm256_maddubs_epi16(b, _mm256_set1_epi32(four(at + 4))));
            }
        }
#pragma GCC unroll 4
        for (int m = 0; m < count; m++)
            p[m].half[side] = _mm256_madd_epi16(s[m], one);
    }
}

/* Pairs of products of 8 bits and 8 may not fit in 16: the highest bit goes by itself. */
INLINE void group8(const uint8_t *w, const int8_t *x, const int count, Products *p) {
    const __m256i seven = _mm256_set1_epi8(127), bit = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1);
    for (int side = 0; side < 2; side++) {
        __m256i s[ROWS], highest[ROWS];
#pragma GCC unroll 4
        for (int m = 0; m < count; m++)
            s[m] = highest[m] = _mm256_setzero_si256();
        for (int h = 0; h < 8; h++) {
            __m256i all = _mm256_loadu_si256((const __m256i *)(w + 64 * h + 32 * side));
            __m256i a = _mm256_and_si256(all, seven), b = _mm256_and_si256(_mm256_srli_epi16(all, 7), bit);
#pragma GCC unroll 4
            for (int m = 0; m < count; m++) {
                __m256i v = _mm256_set1_epi32(four(x + m * GROUP + 4 * h));
                s[m] = _mm256_add_epi32(s[m], _mm256_madd_epi16(_mm256_maddubs_epi16(a, v), one));
                highest[m] = _mm256_add_epi16(highest[m], _mm256_maddubs_epi16(b, v));
            }
        }
#pragma GCC unroll 4
        for (int m = 0; m < count; m++)
            p[m].half[side] =
                _mm256_add_epi32(s[m], _mm256_slli_epi32(_mm256_madd_epi16(highest[m], one), 7));
    }
}

#elif defined(__ARM_FEATURE_DOTPROD)

enum { ROWS = 4, OFFSET = 0 };
typedef struct {
    int32x4_t quarter[4];
} Products;

INLINE Vector floats(Products p) {
    Quarters v;
    for (int i = 0; i < 4; i++)
        v.quarter[i] = vcvtq_f32_s32(p.quarter[i]);
    return v.v;
}

INLINE int8x16_t repeated(const int8_t *at) {
    return vreinterpretq_s8_s32(vdupq_n_s32(four(at)));
}

INLINE void group4(const uint8_t *w, const int8_t *x, const int count, Products *p) {
#pragma GCC unroll 4
    for (int m = 0; m < count; m++)
        for (int i = 0; i < 4; i++)
            p[m].quarter[i] = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (int h = 0; h < 4; h++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            uint8x16_t both = vld1q_u8(w + 64 * h + 16 * i);
            int8x16_t a = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
            int8x16_t b = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
#pragma GCC unroll 4
            for (int m = 0; m < count; m++) {
                const int8_t *at = x + m * GROUP + 8 * h;
                p[m].quarter[i] = vdotq_s32(p[m].quarter[i], a, repeated(at));
                p[m].quarter[i] = vdotq_s32(p[m].quarter[i], b, repeated(at + 4));
            }
        }
}

INLINE void group8(const uint8_t *w, const int8_t *x, const int count, Products *p) {
#pragma GCC unroll 4
    for (int m = 0; m < count; m++)
        for (int i = 0; i < 4; i++)
            p[m].quarter[i] = vdupq_n_s32(0);
#pragma GCC unroll 8
    for (int h = 0; h < 8; h++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            int8x16_t a = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 64 * h + 16 * i), vdupq_n_u8(128)));
#pragma GCC unroll 4
            for (int m = 0; m < count; m++)
                p[m].quarter[i] = vdotq_s32(p[m].quarter[i], a, repeated(x + m * GROUP + 4 * h));
        }
}

#endif

/* `count` is a constant wherever this is used, so that sums stay in registers. */
INLINE void tile_rows(const Matrix *w, int64_t tile, Activations x, int64_t row, const int count, const int bits,
                      float *out, int64_t stride) {
    const int64_t groups = w->groups, width = bits == 4 ? TILE4 : TILE8;
    const uint8_t *at = w->data + tile * groups * width;
    const int8_t *values = values_at(x, row, 0);
    const float *scale = scale_at(x, row, 0);
    Vector acc[ROWS];
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        acc[m] = splat(0.0f);
    for (int64_t g = 0; g < groups; g++, at += width, values += BLOCK * GROUP, scale += 2 * BLOCK) {
        for (int64_t i = 0; i < width; i += 64)
            __builtin_prefetch(at + AHEAD * width + i);
        Products p[ROWS];
        if (bits == 4)
            group4(at, values, count, p);
        else
            group8(at, values, count, p);
        const uint16_t *ends = (const uint16_t *)(at + (bits == 4 ? 256 : 512));
        Vector d = load_half(ends), least = bits == 4 ? load_half(ends + TILE) : d * splat(-(float)OFFSET);
#pragma GCC unroll 8
        for (int m = 0; m < count; m++) {
            acc[m] = multiply_add(floats(p[m]) * splat(scale[m]), d, acc[m]);
            acc[m] = multiply_add(splat(scale[BLOCK + m]), least, acc[m]);
        }
    }
    Vector bias = w->bias ? load(w->bias + tile * TILE) : splat(0.0f);
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        store(out + m * stride, w->bias ? acc[m] + bias : acc[m]);
}

INLINE void tile_few(const Matrix *w, int64_t tile, Activations x, int64_t row, int64_t count, const int bits,
                     float *out, int64_t stride) {
    switch (count) {
    case 1: tile_rows(w, tile, x, row, 1, bits, out, stride); break;
    case 2: tile_rows(w, tile, x, row, 2, bits, out, stride); break;
    case 3: tile_rows(w, tile, x, row, 3, bits, out, stride); break;
#if defined(__AVX512VNNI__)
    case 4: tile_rows(w, tile, x, row, 4, bits, out, stride); break;
    case 5: tile_rows(w, tile, x, row, 5, bits, out, stride); break;
    case 6: tile_rows(w, tile, x, row, 6, bits, out, stride); break;
    case 7: tile_rows(w, tile, x, row, 7, bits, out, stride); break;
#endif
    default: tile_rows(w, tile, x, row, ROWS, bits, out, stride);
    }
}

/* One tile times all rows: (rows, K) to (rows, 16), a row every `stride` floats. */
static void multiply_tile(const Matrix *w, int64_t tile, Activations x, int64_t rows, float *out, int64_t stride) {
    for (int64_t row = 0; row < rows; row += ROWS) {
        int64_t count = rows - row < ROWS ? rows - row : ROWS;
        if (w->bits == 4)
            tile_few(w, tile, x, row, count, 4, out + row * stride, stride);
        else
            tile_few(w, tile, x, row, count, 8, out + row * stride, stride);
    }
}

#endif
