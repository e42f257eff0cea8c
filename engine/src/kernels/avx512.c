/* x86-64 with AVX-512: F, BW, VL, DQ, VBMI and VNNI. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,prefer-vector-width=512")
#endif
#include <immintrin.h>

#define LANES 16
#define MULTIPLY_ADD(a, b, c) ((reals)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "functions.h"

/* The 64 values of a step. */
INLINE __m512i values_at(const sv_matrix *matrix, size_t step, int nibbles, __m512i table)
{
    const uint8_t *values = matrix->values;
    if (!nibbles) return _mm512_loadu_si512(values + step * SV_STEP);
    __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(values + step * (SV_STEP / 2))));
    __m512i halves = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    __m512i codes = _mm512_and_si512(_mm512_srlv_epi16(both, halves), _mm512_set1_epi8(15));
    return _mm512_shuffle_epi8(table, codes);
}

/* Which columns of its window a step picks: 64 bytes. */
INLINE __m512i picks_at(const sv_matrix *matrix, size_t step, sv_layout layout)
{
    if (layout == SV_STEPS_DENSE) return _mm512_setzero_si512();
    if (layout == SV_STEPS_SPARSE) return _mm512_loadu_si512(matrix->picks + step * SV_STEP);
    int32_t four;
    memcpy(&four, matrix->picks + step * 4, 4);
    return _mm512_set1_epi32(four);
}

INLINE __m512i codes_at(const uint8_t *x, __m512i picks, sv_layout layout)
{
    if (layout == SV_STEPS_DENSE) {
        int32_t four;
        memcpy(&four, x, 4);
        return _mm512_set1_epi32(four);
    }
    __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(x), picks, _mm512_loadu_si512(x + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(x + 128), picks, _mm512_loadu_si512(x + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(picks), low, high);
}

INLINE void finish(const sv_matrix *matrix, uint32_t slice, __m512i sums, float scale, float *products)
{
    __m512 scales = _mm512_mul_ps(_mm512_loadu_ps(matrix->scales + slice * SV_SLICE), _mm512_set1_ps(scale));
    sums = _mm512_sub_epi32(sums, _mm512_loadu_si512(matrix->sums + slice * SV_SLICE));
    _mm512_storeu_ps(products, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales));
}

/* Where in x a step reads. */
INLINE size_t place_of(const sv_matrix *matrix, size_t step, size_t first, sv_layout layout)
{
    return layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step];
}

INLINE __m512i add_step(__m512i sum, const sv_matrix *matrix, size_t step, size_t first, const uint8_t *x, __m512i table,
                        sv_layout layout, int nibbles)
{
    __m512i values = values_at(matrix, step, nibbles, table), picks = picks_at(matrix, step, layout);
    return _mm512_dpbusd_epi32(sum, codes_at(x + place_of(matrix, step, first, layout), picks, layout), values);
}

/* Four sums: they need not wait for each other. */
INLINE void one_position(const sv_matrix *matrix, uint32_t slice, const uint8_t *x, float scale, float *products,
                         sv_layout layout, int nibbles)
{
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)matrix->table));
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1], step = first;
    for (; step + 4 <= end; step += 4) {
        a = add_step(a, matrix, step, first, x, table, layout, nibbles);
        b = add_step(b, matrix, step + 1, first, x, table, layout, nibbles);
        c = add_step(c, matrix, step + 2, first, x, table, layout, nibbles);
        d = add_step(d, matrix, step + 3, first, x, table, layout, nibbles);
    }
    for (; step < end; step++)
        a = add_step(a, matrix, step, first, x, table, layout, nibbles);
    finish(matrix, slice, _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d)), scale, products);
}

INLINE void four_positions(const sv_matrix *matrix, uint32_t slice, const uint8_t *x, size_t x_stride, float scale,
                           float *products, sv_layout layout, int nibbles)
{
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)matrix->table));
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];
    for (size_t step = first; step < end; step++) {
        __m512i values = values_at(matrix, step, nibbles, table), picks = picks_at(matrix, step, layout);
        const uint8_t *from = x + place_of(matrix, step, first, layout);
        for (int q = 0; q < 4; q++)
            sums[q] = _mm512_dpbusd_epi32(sums[q], codes_at(from + q * x_stride, picks, layout), values);
    }
    for (int q = 0; q < 4; q++) finish(matrix, slice, sums[q], scale, products + q * SV_BAND);
}

#include "steps.h"

INLINE int64_t sum_of_lanes64(__m512i x)
{
    __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(low, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(x, 1))));
}

/* A row of 16 bits: the sums of two products fit 32 bits, and are added up in two halves so that many of them do. */
INLINE float sum_of_row(const int16_t *values, const int16_t *x, uint32_t columns)
{
    __m512i low = _mm512_setzero_si512(), high = low;
    for (uint32_t c = 0; c < columns; c += 32) {
        __mmask32 there = columns - c < 32 ? (1u << (columns - c)) - 1 : 0xffffffffu;
        __m512i pairs = _mm512_madd_epi16(_mm512_maskz_loadu_epi16(there, values + c),
                                          _mm512_maskz_loadu_epi16(there, x + c));
        low = _mm512_add_epi32(low, _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff)));
        high = _mm512_add_epi32(high, _mm512_srai_epi32(pairs, 16));
    }
    return (float)(sum_of_lanes64(low) + 65536 * sum_of_lanes64(high));
}

static void plain16(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,
                    const float *bias, int add, float *y, size_t y_stride)
{
    for (uint32_t r = 0; r < matrix->rows; r++)
        for (size_t p = 0; p < positions; p++) {
            const int16_t *x = (const int16_t *)vector->codes + p * x_stride;
            float sum = sum_of_row((const int16_t *)matrix->values + (size_t)r * matrix->columns, x, matrix->columns);
            float *to = y + p * y_stride + r;
            *to = (add ? *to : bias ? bias[r] : 0.0f) + sum * (matrix->scales[r] * vector->scale);
        }
}

const sv_kernels sv_avx512_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16, .columns = columns,
    .plain16 = plain16, .steps = steps,
    .window = 256, .zero = 128, .dense = 1, .block = 1.5f, .sparse = 2,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
