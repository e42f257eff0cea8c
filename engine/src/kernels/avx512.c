/* x86-64 with AVX-512: F, BW, VL, DQ, VBMI and VNNI. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,prefer-vector-width=512")
#endif
#include <immintrin.h>

#define LANES 16
#define MULTIPLY_ADD(a, b, c) ((reals)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "functions.h"

#define WINDOW 256

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

INLINE void finish(const sv_matrix *matrix, uint32_t slice, __m512i sums, float scale, const float *bias, int add, float *y)
{
    int32_t stored[SV_SLICE];
    _mm512_storeu_si512(stored, sums);
    sv_finish(matrix, slice, stored, scale, bias, add, y);
}

INLINE void steps_of(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,
                     const float *bias, int add, float *y, size_t y_stride, sv_layout layout, int nibbles)
{
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)matrix->table));
    for (uint32_t slice = 0; slice * SV_SLICE < matrix->rows; slice++) {
        size_t first = matrix->begin[slice], end = matrix->begin[slice + 1], p = 0;
        for (; p < positions; p++) {
            const uint8_t *x = (const uint8_t *)vector->codes + p * x_stride;
            __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
            size_t step = first;
            if (p + 4 <= positions) {
                for (; step < end; step++) {
                    __m512i values = values_at(matrix, step, nibbles, table);
                    __m512i picks = layout == SV_STEPS_DENSE ? values : picks_at(matrix, step, layout);
                    const uint8_t *from = x + (layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step]);
                    for (int q = 0; q < 4; q++)
                        sums[q] = _mm512_dpbusd_epi32(sums[q], codes_at(from + q * x_stride, picks, layout), values);
                }
                for (int q = 0; q < 4; q++)
                    finish(matrix, slice, sums[q], vector->scale, bias, add, y + (p + q) * y_stride);
                p += 3;
                continue;
            }
            for (; step + 4 <= end; step += 4)
                for (size_t q = step; q < step + 4; q++) {
                    __m512i values = values_at(matrix, q, nibbles, table);
                    __m512i picks = layout == SV_STEPS_DENSE ? values : picks_at(matrix, q, layout);
                    const uint8_t *from = x + (layout == SV_STEPS_DENSE ? 4 * (q - first) : matrix->windows[q]);
                    sums[q - step] = _mm512_dpbusd_epi32(sums[q - step], codes_at(from, picks, layout), values);
                }
            for (; step < end; step++) {
                __m512i values = values_at(matrix, step, nibbles, table);
                __m512i picks = layout == SV_STEPS_DENSE ? values : picks_at(matrix, step, layout);
                const uint8_t *from = x + (layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step]);
                sums[0] = _mm512_dpbusd_epi32(sums[0], codes_at(from, picks, layout), values);
            }
            __m512i sum = _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
            finish(matrix, slice, sum, vector->scale, bias, add, y + p * y_stride);
        }
    }
}

static void steps(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,
                  const float *bias, int add, float *y, size_t y_stride)
{
#define STEPS(layout, nibbles) steps_of(matrix, vector, positions, x_stride, bias, add, y, y_stride, layout, nibbles)
    switch (matrix->layout) {
    case SV_STEPS_DENSE: if (matrix->nibbles) STEPS(SV_STEPS_DENSE, 1); else STEPS(SV_STEPS_DENSE, 0); break;
    case SV_STEPS_BLOCK: if (matrix->nibbles) STEPS(SV_STEPS_BLOCK, 1); else STEPS(SV_STEPS_BLOCK, 0); break;
    default: if (matrix->nibbles) STEPS(SV_STEPS_SPARSE, 1); else STEPS(SV_STEPS_SPARSE, 0);
    }
}

const sv_kernels sv_avx512_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16, .columns = columns, .steps = steps,
    .window = WINDOW, .zero = 128, .dense = 1, .block = 1.5f, .sparse = 2,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
