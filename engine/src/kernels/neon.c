/* 64-bit ARM, of which all have NEON. */
#include "kernels.h" /* outside: ISO C has no empty files, as this one would be on other CPUs */

#if defined(__aarch64__)
#include <arm_neon.h>

#define LANES 4
#define MULTIPLY_ADD(a, b, c) ((reals)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#include "functions.h"

/* 64 bytes, of 4 rows each. */
typedef struct {
    int8x16_t of[4];
} bytes64;

INLINE bytes64 values_at(const sv_matrix *matrix, size_t step, int nibbles) {
    const int8_t *values = matrix->values;
    bytes64 all;
    if (!nibbles) {
        for (int i = 0; i < 4; i++)
            all.of[i] = vld1q_s8(values + step * SV_STEP + 16 * i);
        return all;
    }
    int8x16_t table = vld1q_s8(matrix->table.of8);
    for (int i = 0; i < 2; i++) {
        uint8x16_t codes = vld1q_u8((const uint8_t *)values + step * (SV_STEP / 2) + 16 * i);
        all.of[i] = vqtbl1q_s8(table, vandq_u8(codes, vdupq_n_u8(15)));
        all.of[i + 2] = vqtbl1q_s8(table, vshrq_n_u8(codes, 4));
    }
    return all;
}

INLINE int8x16_t four_bytes(const void *x) {
    int32_t four;
    memcpy(&four, x, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* The codes that the rows 4 i to 4 i + 3 of a slice take. */
INLINE int8x16_t codes_at(const sv_matrix *matrix, size_t step, const int8_t *x, int8x16x4_t window, int i,
                          sv_layout layout) {
    if (layout == SV_STEPS_DENSE)
        return four_bytes(x);
    if (layout == SV_STEPS_BLOCK)
        return vqtbl4q_s8(window, vreinterpretq_u8_s8(four_bytes(matrix->picks + step * 4)));
    return vqtbl4q_s8(window, vld1q_u8(matrix->picks + step * SV_STEP + 16 * i));
}

/* Two products of no more than 127 by 127 fit 16 bits. */
INLINE int32x4_t add_products(int32x4_t sum, int8x16_t codes, int8x16_t values) {
    int16x8_t low = vmull_s8(vget_low_s8(codes), vget_low_s8(values)), high = vmull_high_s8(codes, values);
    return vpadalq_s16(sum, vpaddq_s16(low, high));
}

INLINE void positions8(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                       sv_layout layout, int nibbles, int count) {
    int32x4_t sums[4][4];
    size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];
    for (int i = 0; i < 4 * count; i++)
        sums[i / 4][i % 4] = vdupq_n_s32(0);
    for (size_t step = first; step < end; step++) {
        bytes64 values = values_at(matrix, step, nibbles);
        size_t from = layout == SV_STEPS_DENSE ? 4 * (step - first) : matrix->windows[step];
        for (int q = 0; q < count; q++) {
            const int8_t *x = (const int8_t *)at[q].x + from;
            int8x16x4_t window = {{{0}}};
            if (layout != SV_STEPS_DENSE)
                for (int i = 0; i < 4; i++)
                    window.val[i] = vld1q_s8(x + 16 * i);
            for (int i = 0; i < 4; i++)
                sums[q][i] = add_products(sums[q][i], codes_at(matrix, step, x, window, i, layout), values.of[i]);
        }
    }
    for (int q = 0; q < count; q++)
        for (int i = 0; i < 4; i++) {
            float32x4_t scales = vmulq_n_f32(vld1q_f32(matrix->scales + slice * SV_SLICE + 4 * i), at[q].scale);
            vst1q_f32(products + q * SV_BAND + 4 * i, vmulq_f32(vcvtq_f32_s32(sums[q][i]), scales));
        }
}

/* Of 8 bits there is a kernel; plain C does well with the others. */
#include "plain.h"
#include "steps.h"

STEPS(steps8, positions8, 1)
STEPS(steps16, plain16_positions, 0)
STEPS(steps_float, plain_float_positions, 0)

const sv_kernels sv_neon_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16,
    .steps = {
        [SV_INT8] = {steps8, .window = 64, .nibbles = 1, .dense = 1, .block = 1.5f, .sparse = 2},
        [SV_INT16] = {steps16, .window = 256, .dense = 1, .block = 1.2f, .sparse = 2},
        [SV_FLOAT32] = {steps_float, .window = 256, .dense = 1, .block = 1.2f, .sparse = 4},
    },
};
#endif
