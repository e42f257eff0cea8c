/* x86-64 with AVX2 and FMA. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>

#define LANES 8
#define MULTIPLY_ADD(a, b, c) ((reals)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include "functions.h"

/* 64 bytes, or 16 sums: those of rows 0 to 7 and of rows 8 to 15. */
typedef struct { __m256i low, high; } both;

INLINE both values_at(const sv_matrix *matrix, size_t step, int nibbles)
{
    const uint8_t *values = matrix->values;
    if (!nibbles) {
        const __m256i *at = (const __m256i *)(values + step * SV_STEP);
        return (both){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
    }
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)matrix->table));
    __m256i codes = _mm256_loadu_si256((const __m256i *)(values + step * (SV_STEP / 2))), four = _mm256_set1_epi8(15);
    return (both){_mm256_shuffle_epi8(table, _mm256_and_si256(codes, four)),
                  _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), four))};
}

INLINE __m256i four_bytes(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* Which columns of its window a step picks. */
INLINE both picks_at(const sv_matrix *matrix, size_t step, sv_layout layout)
{
    if (layout == SV_STEPS_DENSE) return (both){_mm256_setzero_si256(), _mm256_setzero_si256()};
    if (layout == SV_STEPS_BLOCK) {
        __m256i four = four_bytes(matrix->picks + step * 4);
        return (both){four, four};
    }
    const __m256i *at = (const __m256i *)(matrix->picks + step * SV_STEP);
    return (both){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}

/* Picked from 64 bytes: a shuffle for each 16 of them, of which bits 4 and 5 choose, as the sign of a byte. */
INLINE __m256i pick(const __m256i *parts, __m256i picks)
{
    __m256i bit4 = _mm256_slli_epi16(picks, 3), bit5 = _mm256_slli_epi16(picks, 2);
    __m256i a = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[0], picks), _mm256_shuffle_epi8(parts[1], picks), bit4);
    __m256i b = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[2], picks), _mm256_shuffle_epi8(parts[3], picks), bit4);
    return _mm256_blendv_epi8(a, b, bit5);
}

INLINE both codes_at(const uint8_t *x, both picks, sv_layout layout)
{
    if (layout == SV_STEPS_DENSE) {
        __m256i four = four_bytes(x);
        return (both){four, four};
    }
    __m256i parts[4];
    for (int i = 0; i < 4; i++)
        parts[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(x + 16 * i)));
    __m256i low = pick(parts, picks.low);
    return (both){low, layout == SV_STEPS_BLOCK ? low : pick(parts, picks.high)};
}

/* Signed by signed bytes: magnitudes by codes of the values' sign. Each is at most 127, so two products fit 16 bits. */
INLINE __m256i add_products(__m256i sum, __m256i codes, __m256i values)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), _mm256_sign_epi8(codes, values));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE void finish(const sv_matrix *matrix, uint32_t slice, both sums, float scale, float *products)
{
    const float *scales = matrix->scales + slice * SV_SLICE;
    __m256 by = _mm256_set1_ps(scale);
    _mm256_storeu_ps(products, _mm256_mul_ps(_mm256_cvtepi32_ps(sums.low),
                                             _mm256_mul_ps(_mm256_loadu_ps(scales), by)));
    _mm256_storeu_ps(products + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(sums.high),
                                                 _mm256_mul_ps(_mm256_loadu_ps(scales + 8), by)));
}

/* The products of one slice at COUNT positions. */
#define POSITIONS(COUNT)                                                                                           \
    both sums[COUNT];                                                                                              \
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];                                           \
    for (int q = 0; q < COUNT; q++) sums[q].low = sums[q].high = _mm256_setzero_si256();                           \
    for (size_t step = first; step < end; step++) {                                                                \
        both values = values_at(matrix, step, nibbles), picks = picks_at(matrix, step, layout);                    \
        const uint8_t *from = x + (layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step]);         \
        for (int q = 0; q < COUNT; q++) {                                                                          \
            both codes = codes_at(from + q * x_stride, picks, layout);                                             \
            sums[q].low = add_products(sums[q].low, codes.low, values.low);                                        \
            sums[q].high = add_products(sums[q].high, codes.high, values.high);                                    \
        }                                                                                                          \
    }                                                                                                              \
    for (int q = 0; q < COUNT; q++) finish(matrix, slice, sums[q], scale, products + q * SV_BAND)

INLINE void one_position(const sv_matrix *matrix, uint32_t slice, const uint8_t *x, float scale, float *products,
                         sv_layout layout, int nibbles)
{
    const size_t x_stride = 0;
    POSITIONS(1);
}

INLINE void four_positions(const sv_matrix *matrix, uint32_t slice, const uint8_t *x, size_t x_stride, float scale,
                           float *products, sv_layout layout, int nibbles)
{
    POSITIONS(4);
}

#include "steps.h"

const sv_kernels sv_avx2_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16, .columns = columns,
    .plain16 = sv_plain16, .steps = steps,
    .window = 64, .zero = 0, .dense = 1, .block = 1.5f, .sparse = 2.5f,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
