/* x86-64 with AVX-512: F, BW, VL, DQ, VBMI and VNNI. */
#include "kernels.h" /* outside: ISO C has no empty files, as this one would be on other CPUs */

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(                                                                                          \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,prefer-vector-width=512")
#endif
#include <immintrin.h>

#define LANES 16
#define MULTIPLY_ADD(a, b, c) ((reals)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "functions.h"

/* The table of a matrix's values, as often as it fits a register. */
INLINE __m512i table_of(const sv_matrix *matrix, sv_precision precision) {
    if (precision == SV_INT8)
        return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)matrix->table.of8));
    if (precision == SV_INT16)
        return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)matrix->table.of16));
    return _mm512_loadu_si512(matrix->table.floats);
}

/* The values of a step. */
INLINE __m512i values_at(const sv_matrix *matrix, size_t step, sv_precision precision, int nibbles, __m512i table) {
    const uint8_t *values = matrix->values;
    if (!nibbles)
        return _mm512_loadu_si512(values + step * SV_STEP);
    values += step * (SV_STEP >> precision) / 2;
    __m512i zero = _mm512_setzero_si512();
    if (precision == SV_INT8) {
        __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)values));
        __m512i halves = _mm512_inserti64x4(zero, _mm256_set1_epi16(4), 1);
        return _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srlv_epi16(both, halves), _mm512_set1_epi8(15)));
    }
    if (precision == SV_INT16) {
        __m512i both = _mm512_broadcast_i64x4(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)values)));
        __m512i halves = _mm512_inserti64x4(zero, _mm256_set1_epi16(4), 1);
        return _mm512_permutexvar_epi16(_mm512_srlv_epi16(both, halves), table);
    }
    __m512i both = _mm512_broadcast_i64x4(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)values)));
    __m512i halves = _mm512_inserti64x4(zero, _mm256_set1_epi32(4), 1);
    return _mm512_permutexvar_epi32(_mm512_srlv_epi32(both, halves), table);
}

/* Which columns of its window a step picks. */
INLINE __m512i picks_at(const sv_matrix *matrix, size_t step, sv_precision precision, sv_layout layout) {
    if (layout == SV_STEPS_DENSE)
        return _mm512_setzero_si512();
    if (layout == SV_STEPS_SPARSE) {
        const uint8_t *picks = matrix->picks + step * (SV_STEP >> precision);
        if (precision == SV_INT8)
            return _mm512_loadu_si512(picks);
        if (precision == SV_INT16)
            return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)picks));
        return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)picks));
    }
    const uint8_t *picks = matrix->picks + step * (4 >> precision);
    if (precision == SV_INT8) {
        int32_t four;
        memcpy(&four, picks, 4);
        return _mm512_set1_epi32(four);
    }
    return _mm512_set1_epi32(precision == SV_INT16 ? picks[0] | picks[1] << 16 : picks[0]);
}

/* Picked from the 256 bytes at x; there may be fewer where floats are not picked for each row. */
INLINE __m512i codes_at(const char *x, __m512i picks, sv_precision precision, sv_layout layout) {
    if (layout == SV_STEPS_DENSE || (precision == SV_FLOAT32 && layout == SV_STEPS_BLOCK)) {
        int32_t four;
        memcpy(&four, layout == SV_STEPS_DENSE ? x : x + 4 * _mm512_cvtsi512_si32(picks), 4);
        return _mm512_set1_epi32(four);
    }
    __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 64);
    __m512i c = _mm512_loadu_si512(x + 128), d = _mm512_loadu_si512(x + 192);
    if (precision == SV_INT8)
        return _mm512_mask_blend_epi8(_mm512_movepi8_mask(picks), _mm512_permutex2var_epi8(a, picks, b),
                                      _mm512_permutex2var_epi8(c, picks, d));
    if (precision == SV_INT16)
        return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(picks, _mm512_set1_epi16(64)),
                                       _mm512_permutex2var_epi16(a, picks, b), _mm512_permutex2var_epi16(c, picks, d));
    return _mm512_mask_blend_epi32(_mm512_test_epi32_mask(picks, _mm512_set1_epi32(32)),
                                   _mm512_permutex2var_epi32(a, picks, b), _mm512_permutex2var_epi32(c, picks, d));
}

/* Sums of 16 rows. Of 16 bits two products fit 32, but their sums do not: the halves of each are added up apart. */
typedef struct {
    __m512i sum, high;
} sums;

INLINE sums add_products(sums to, __m512i codes, __m512i values, sv_precision precision) {
    if (precision == SV_INT8)
        return (sums){_mm512_dpbusd_epi32(to.sum, codes, values), to.high};
    if (precision == SV_FLOAT32) {
        __m512 sum
            = _mm512_fmadd_ps(_mm512_castsi512_ps(codes), _mm512_castsi512_ps(values), _mm512_castsi512_ps(to.sum));
        return (sums){_mm512_castps_si512(sum), to.high};
    }
    __m512i pairs = _mm512_madd_epi16(codes, values);
    return (sums){_mm512_add_epi32(to.sum, _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff))),
                  _mm512_add_epi32(to.high, _mm512_srai_epi32(pairs, 16))};
}

INLINE sums both(sums a, sums b, sv_precision precision) {
    if (precision == SV_FLOAT32)
        return (sums){_mm512_castps_si512(_mm512_castsi512_ps(a.sum) + _mm512_castsi512_ps(b.sum)), a.high};
    return (sums){_mm512_add_epi32(a.sum, b.sum), _mm512_add_epi32(a.high, b.high)};
}

INLINE void finish(const sv_matrix *matrix, uint32_t slice, sums of, float scale, float *products,
                   sv_precision precision) {
    if (precision == SV_FLOAT32) {
        _mm512_storeu_si512(products, of.sum);
        return;
    }
    __m512 sum;
    if (precision == SV_INT8)
        sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(of.sum, _mm512_loadu_si512(matrix->sums + slice * SV_SLICE)));
    else {
        __m512i high = _mm512_add_epi32(of.high, _mm512_srli_epi32(of.sum, 16));
        __m512i low = _mm512_and_si512(of.sum, _mm512_set1_epi32(0xffff));
        sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(65536), _mm512_cvtepi32_ps(low));
    }
    __m512 scales = _mm512_mul_ps(_mm512_loadu_ps(matrix->scales + slice * SV_SLICE), _mm512_set1_ps(scale));
    _mm512_storeu_ps(products, _mm512_mul_ps(sum, scales));
}

/* The products of a slice. One position has four sums, which need not wait for each other, and more than one have as
 * many of floats, so that they are added up in the same order. */
INLINE void positions_at(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                         sv_layout layout, int nibbles, int count, sv_precision precision) {
    __m512i zero = _mm512_setzero_si512(), table = table_of(matrix, precision);
    sums none = {zero, zero},
         to[4][4]
        = {{none, none, none, none}, {none, none, none, none}, {none, none, none, none}, {none, none, none, none}};
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1], step = first;
#define ADD_STEP(NUMBER, SUM)                                                                                          \
    do {                                                                                                               \
        __m512i values = values_at(matrix, NUMBER, precision, nibbles, table);                                         \
        __m512i picks = picks_at(matrix, NUMBER, precision, layout);                                                   \
        size_t from                                                                                                    \
            = layout == SV_STEPS_DENSE ? 4 * ((NUMBER) - first) : (size_t)matrix->windows[NUMBER] << precision;        \
        for (int q = 0; q < count; q++) {                                                                              \
            __m512i codes = codes_at((const char *)at[q].x + from, picks, precision, layout);                          \
            to[q][SUM] = add_products(to[q][SUM], codes, values, precision);                                           \
        }                                                                                                              \
    } while (0)
    if (count == 1 || precision == SV_FLOAT32)
        for (; step + 4 <= end; step += 4) {
            ADD_STEP(step, 0);
            ADD_STEP(step + 1, 1);
            ADD_STEP(step + 2, 2);
            ADD_STEP(step + 3, 3);
        }
    for (; step < end; step++)
        ADD_STEP(step, 0);
    for (int q = 0; q < count; q++) {
        sums all = both(both(to[q][0], to[q][1], precision), both(to[q][2], to[q][3], precision), precision);
        finish(matrix, slice, all, at[q].scale, products + q * SV_BAND, precision);
    }
}

#define POSITIONS(NAME, PRECISION)                                                                                     \
    INLINE void NAME(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,                  \
                     sv_layout layout, int nibbles, int count) {                                                       \
        positions_at(matrix, slice, at, products, layout, nibbles, count, PRECISION);                                  \
    }
POSITIONS(positions8, SV_INT8)
POSITIONS(positions16, SV_INT16)
POSITIONS(float_positions, SV_FLOAT32)

#include "steps.h"

STEPS(steps8, positions8, 1)
STEPS(steps16, positions16, 1)
STEPS(steps_float, float_positions, 1)

const sv_kernels sv_avx512_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16, .zero = 128,
    .steps = {
        [SV_INT8] = {steps8, .window = 256, .nibbles = 1, .dense = 1, .block = 1.5f, .sparse = 2},
        [SV_INT16] = {steps16, .window = 128, .nibbles = 1, .dense = 1, .block = 1.5f, .sparse = 1.7f},
        [SV_FLOAT32] = {steps_float, .window = 64, .least = 64, .nibbles = 1, .dense = 1, .block = 1.2f, .sparse = 2},
    },
};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
