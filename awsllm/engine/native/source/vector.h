/* Sixteen floats at a time. Every instruction set computes in the same order, so that sums do not depend on it but for
   what fused multiplication rounds. */

#ifndef AWSLLM_VECTOR_H
#define AWSLLM_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(64), aligned(64)));
typedef int32_t Integers __attribute__((vector_size(64), aligned(64)));

INLINE Vector splat(float x) {
    return x - (Vector){0};
}

INLINE Vector load(const float *at) {
    Vector v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE void store(float *at, Vector v) {
    memcpy(at, &v, sizeof v);
}

INLINE float sum(Vector v) {
    float part[16];
    memcpy(part, &v, sizeof part);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            part[i] += part[i + width];
    return part[0];
}

INLINE float largest(Vector v) {
    float part[16];
    memcpy(part, &v, sizeof part);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            part[i] = part[i] > part[i + width] ? part[i] : part[i + width];
    return part[0];
}

INLINE Vector choose(Integers mask, Vector yes, Vector no) {
    return (Vector)(((Integers)yes & mask) | ((Integers)no & ~mask));
}

INLINE Vector larger(Vector a, Vector b) {
    return choose(a > b, a, b);
}

INLINE Vector magnitude(Vector v) {
    return (Vector)((Integers)v & 0x7fffffff);
}

#if defined(__AVX512F__)

INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
    return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

INLINE Vector load_half(const uint16_t *at) {
    return (Vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

INLINE void store_half(uint16_t *at, Vector v) {
    _mm256_storeu_si256((__m256i *)at, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE Integers nearest(Vector v) {
    return (Integers)_mm512_cvtps_epi32((__m512)v);
}

INLINE void store_bytes(int8_t *at, Integers v) {
    _mm_storeu_si128((__m128i *)at, _mm512_cvtepi32_epi8((__m512i)v));
}

#elif defined(__AVX2__)

typedef union { Vector v; __m256 half[2]; } Halves;
typedef union { Integers v; __m256i half[2]; } IntegerHalves;

INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
    Halves x = {a}, y = {b}, z = {c};
    for (int i = 0; i < 2; i++)
        z.half[i] = _mm256_fmadd_ps(x.half[i], y.half[i], z.half[i]);
    return z.v;
}

INLINE Vector load_half(const uint16_t *at) {
    Halves x;
    for (int i = 0; i < 2; i++)
        x.half[i] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 8 * i)));
    return x.v;
}

INLINE void store_half(uint16_t *at, Vector v) {
    Halves x = {v};
    for (int i = 0; i < 2; i++)
        _mm_storeu_si128((__m128i *)(at + 8 * i), _mm256_cvtps_ph(x.half[i], _MM_FROUND_TO_NEAREST_INT));
}

INLINE Integers nearest(Vector v) {
    Halves x = {v};
    IntegerHalves y;
    for (int i = 0; i < 2; i++)
        y.half[i] = _mm256_cvtps_epi32(x.half[i]);
    return y.v;
}

INLINE void store_bytes(int8_t *at, Integers v) {
    for (int i = 0; i < 16; i++)
        at[i] = (int8_t)v[i];
}

#elif defined(__aarch64__)

typedef union { Vector v; float32x4_t quarter[4]; } Quarters;
typedef union { Integers v; int32x4_t quarter[4]; } IntegerQuarters;

INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
    Quarters x = {a}, y = {b}, z = {c};
    for (int i = 0; i < 4; i++)
        z.quarter[i] = vfmaq_f32(z.quarter[i], x.quarter[i], y.quarter[i]);
    return z.v;
}

INLINE Vector load_half(const uint16_t *at) {
    Quarters x;
    for (int i = 0; i < 4; i++)
        x.quarter[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at + 4 * i)));
    return x.v;
}

INLINE void store_half(uint16_t *at, Vector v) {
    Quarters x = {v};
    for (int i = 0; i < 4; i++)
        vst1_u16(at + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.quarter[i])));
}

INLINE Integers nearest(Vector v) {
    Quarters x = {v};
    IntegerQuarters y;
    for (int i = 0; i < 4; i++)
        y.quarter[i] = vcvtnq_s32_f32(x.quarter[i]);
    return y.v;
}

INLINE void store_bytes(int8_t *at, Integers v) {
    IntegerQuarters y = {v};
    int8x8_t low = vmovn_s16(vcombine_s16(vmovn_s32(y.quarter[0]), vmovn_s32(y.quarter[1])));
    int8x8_t high = vmovn_s16(vcombine_s16(vmovn_s32(y.quarter[2]), vmovn_s32(y.quarter[3])));
    vst1q_s8(at, vcombine_s8(low, high));
}

#else
#error "no kernel for this instruction set"
#endif

/* e to the power of v, to about one unit in the last place; 0 below -87. Cephes' polynomial. */
INLINE Vector exponential(Vector v) {
    Integers tiny = v < splat(-87.0f);
    v = choose(v > splat(88.0f), splat(88.0f), v);
    v = choose(tiny, splat(-87.0f), v);
    Integers power = nearest(v * splat(1.44269504088896341f));
    Vector turns = __builtin_convertvector(power, Vector);
    Vector x = multiply_add(turns, splat(-0.693359375f), v);
    x = multiply_add(turns, splat(2.12194440e-4f), x);
    Vector y = splat(1.9875691500e-4f);
    y = multiply_add(y, x, splat(1.3981999507e-3f));
    y = multiply_add(y, x, splat(8.3334519073e-3f));
    y = multiply_add(y, x, splat(4.1665795894e-2f));
    y = multiply_add(y, x, splat(1.6666665459e-1f));
    y = multiply_add(y, x, splat(5.0000001201e-1f));
    y = multiply_add(y, x * x, x + splat(1.0f));
    Vector scale = (Vector)((power + 127) << 23);
    return choose(tiny, splat(0.0f), y * scale);
}

INLINE Vector logistic(Vector v) {
    return splat(1.0f) / (splat(1.0f) + exponential(-v));
}

INLINE Vector hyperbolic_tangent(Vector v) {
    return splat(2.0f) * logistic(v + v) - splat(1.0f);
}

#endif
