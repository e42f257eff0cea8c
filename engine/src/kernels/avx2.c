/* x86-64 with AVX2 and FMA. */
#include "kernels.h" /* outside: ISO C has no empty files, as this one would be on other CPUs */

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
typedef struct {
    __m256i low, high;
} both;

INLINE both values_at(const sv_matrix *matrix, size_t step, int nibbles) {
    const uint8_t *values = matrix->values;
    if (!nibbles) {
        const __m256i *at = (const __m256i *)(values + step * SV_STEP);
        return (both){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
    }
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)matrix->table.of8));
    __m256i codes = _mm256_loadu_si256((const __m256i *)(values + step * (SV_STEP / 2))), four = _mm256_set1_epi8(15);
    return (both){_mm256_shuffle_epi8(table, _mm256_and_si256(codes, four)),
                  _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), four))};
}

INLINE __m256i four_bytes(const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* Which columns of its window a step picks. */
INLINE both picks_at(const sv_matrix *matrix, size_t step, sv_layout layout) {
    if (layout == SV_STEPS_DENSE)
        return (both){_mm256_setzero_si256(), _mm256_setzero_si256()};
    if (layout == SV_STEPS_BLOCK) {
        __m256i four = four_bytes(matrix->picks + step * 4);
        return (both){four, four};
    }
    const __m256i *at = (const __m256i *)(matrix->picks + step * SV_STEP);
    return (both){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}

/* Picked from 64 bytes: a shuffle for each 16 of them, of which bits 4 and 5 choose, as the sign of a byte. */
INLINE __m256i pick(const __m256i *parts, __m256i picks) {
    __m256i bit4 = _mm256_slli_epi16(picks, 3), bit5 = _mm256_slli_epi16(picks, 2);
    __m256i a = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[0], picks), _mm256_shuffle_epi8(parts[1], picks), bit4);
    __m256i b = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[2], picks), _mm256_shuffle_epi8(parts[3], picks), bit4);
    return _mm256_blendv_epi8(a, b, bit5);
}

INLINE both codes_at(const uint8_t *x, both picks, sv_layout layout) {
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
INLINE __m256i add_products(__m256i sum, __m256i codes, __m256i values) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), _mm256_sign_epi8(codes, values));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE void finish(const sv_matrix *matrix, uint32_t slice, both sums, float scale, float *products) {
    const float *scales = matrix->scales + slice * SV_SLICE;
    __m256 by = _mm256_set1_ps(scale);
    _mm256_storeu_ps(products, _mm256_mul_ps(_mm256_cvtepi32_ps(sums.low), _mm256_mul_ps(_mm256_loadu_ps(scales), by)));
    _mm256_storeu_ps(products + 8,
                     _mm256_mul_ps(_mm256_cvtepi32_ps(sums.high), _mm256_mul_ps(_mm256_loadu_ps(scales + 8), by)));
}

INLINE void positions8(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                       sv_layout layout, int nibbles, int count) {
    both sums[4];
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];
    for (int q = 0; q < count; q++)
        sums[q].low = sums[q].high = _mm256_setzero_si256();
    for (size_t step = first; step < end; step++) {
        both values = values_at(matrix, step, nibbles), picks = picks_at(matrix, step, layout);
        size_t from = layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step];
        for (int q = 0; q < count; q++) {
            both codes = codes_at((const uint8_t *)at[q].x + from, picks, layout);
            sums[q].low = add_products(sums[q].low, codes.low, values.low);
            sums[q].high = add_products(sums[q].high, codes.high, values.high);
        }
    }
    for (int q = 0; q < count; q++)
        finish(matrix, slice, sums[q], at[q].scale, products + q * SV_BAND);
}

/* Of 16 bits or floats: 4 bytes for each of 8 rows of a slice, from a window in memory. */
INLINE __m256i gathered(const char *x, const uint8_t *picks, sv_precision precision, sv_layout layout) {
    if (layout == SV_STEPS_DENSE)
        return four_bytes((const uint8_t *)x);
    if (precision == SV_FLOAT32) {
        if (layout == SV_STEPS_BLOCK)
            return four_bytes((const uint8_t *)x + 4 * picks[0]);
        return _mm256_i32gather_epi32((const int *)(const void *)x,
                                      _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)picks)), 4);
    }
    if (layout == SV_STEPS_BLOCK) {
        uint16_t two[2];
        memcpy(two, x + 2 * picks[0], 2);
        memcpy(two + 1, x + 2 * picks[1], 2);
        return four_bytes((const uint8_t *)two);
    }
    __m256i pairs = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)picks));
    __m256i first
        = _mm256_i32gather_epi32((const int *)(const void *)x, _mm256_and_si256(pairs, _mm256_set1_epi32(255)), 2);
    __m256i second = _mm256_i32gather_epi32((const int *)(const void *)x, _mm256_srli_epi32(pairs, 8), 2);
    return _mm256_blend_epi16(first, _mm256_slli_epi32(second, 16), 0xaa);
}

/* Sums of 8 rows. Of 16 bits two products fit 32, but their sums do not: the halves of each are added up apart. */
typedef struct {
    __m256i sum, high;
} sums;

INLINE sums add_wide(sums to, __m256i codes, __m256i values, sv_precision precision) {
    if (precision == SV_FLOAT32) {
        __m256 sum
            = _mm256_fmadd_ps(_mm256_castsi256_ps(codes), _mm256_castsi256_ps(values), _mm256_castsi256_ps(to.sum));
        return (sums){_mm256_castps_si256(sum), to.high};
    }
    __m256i pairs = _mm256_madd_epi16(codes, values);
    return (sums){_mm256_add_epi32(to.sum, _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff))),
                  _mm256_add_epi32(to.high, _mm256_srai_epi32(pairs, 16))};
}

INLINE __m256 sum_of(sums of, sv_precision precision) {
    if (precision == SV_FLOAT32)
        return _mm256_castsi256_ps(of.sum);
    __m256i high = _mm256_add_epi32(of.high, _mm256_srli_epi32(of.sum, 16));
    __m256i low = _mm256_and_si256(of.sum, _mm256_set1_epi32(0xffff));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(65536), _mm256_cvtepi32_ps(low));
}

INLINE void wide_positions(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                           sv_layout layout, int count, sv_precision precision) {
    const size_t half = SV_STEP >> precision >> 1; /* products of 8 rows in a step */
    sums to[4][2];
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];
    for (int q = 0; q < count; q++)
        for (int h = 0; h < 2; h++)
            to[q][h].sum = to[q][h].high = _mm256_setzero_si256();
    for (size_t step = first; step < end; step++) {
        const __m256i *values = (const __m256i *)((const char *)matrix->values + step * SV_STEP);
        const uint8_t *picks = layout == SV_STEPS_DENSE
            ? NULL
            : matrix->picks + step * (layout == SV_STEPS_SPARSE ? 2 * half : (size_t)4 >> precision);
        size_t from = layout == SV_STEPS_DENSE ? 4 * (step - first) : (size_t)matrix->windows[step] << precision;
        for (int q = 0; q < count; q++)
            for (int h = 0; h < 2; h++) {
                const uint8_t *of = layout == SV_STEPS_SPARSE ? picks + h * half : picks;
                to[q][h] = add_wide(to[q][h], gathered((const char *)at[q].x + from, of, precision, layout),
                                    _mm256_loadu_si256(values + h), precision);
            }
    }
    for (int q = 0; q < count; q++)
        for (int h = 0; h < 2; h++) {
            __m256 sum = sum_of(to[q][h], precision);
            if (precision != SV_FLOAT32)
                sum = sum * _mm256_loadu_ps(matrix->scales + slice * SV_SLICE + 8 * h) * at[q].scale;
            _mm256_storeu_ps(products + q * SV_BAND + 8 * h, sum);
        }
}

INLINE void positions16(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                        sv_layout layout, int nibbles, int count) {
    (void)nibbles;
    wide_positions(matrix, slice, at, products, layout, count, SV_INT16);
}

INLINE void float_positions(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                            sv_layout layout, int nibbles, int count) {
    (void)nibbles;
    wide_positions(matrix, slice, at, products, layout, count, SV_FLOAT32);
}

#include "steps.h"

STEPS(steps8, positions8, 1)
STEPS(steps16, positions16, 0)
STEPS(steps_float, float_positions, 0)

const sv_kernels sv_avx2_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16,
    .steps = {
        [SV_INT8] = {steps8, .window = 64, .nibbles = 1, .dense = 1, .block = 1.5f, .sparse = 2.5f},
        [SV_INT16] = {steps16, .window = 256, .dense = 1, .block = 1.2f, .sparse = 2},
        [SV_FLOAT32] = {steps_float, .window = 256, .dense = 1, .block = 1.2f, .sparse = 4},
    },
};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
