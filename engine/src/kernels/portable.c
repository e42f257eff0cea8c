/* Kernels in plain C: for any CPU, and for layouts that gain nothing from special instructions. */
#define LANES 4
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#include "functions.h"

/* Defines NAME, which multiplies row after row. `values` of a row and `x` are of the types VALUE and CODE; COUNT of them
 * are at AT(i). Four positions share a weight; one has four sums, so that they do not wait for each other. */
#define ROW_AFTER_ROW(NAME, VALUE, CODE, SUM, FROM, FIRST, COUNT, AT, FACTOR)                                        \
    void NAME(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride, const float *bias, \
              int add, float *y, size_t y_stride) {                                                                  \
        for (uint32_t r = 0; r < matrix->rows; r++) {                                                                \
            const VALUE *values = (const VALUE *)matrix->values + (FIRST);                                           \
            const uint32_t *index = matrix->index ? matrix->index + matrix->begin[r] : NULL;                         \
            size_t count = (COUNT), p = 0;                                                                           \
            (void)index;                                                                                             \
            for (; p < positions; p++) {                                                                             \
                const CODE *x = (const CODE *)(FROM) + p * x_stride;                                                 \
                float *to = y + p * y_stride + r;                                                                    \
                SUM sums[4] = {0};                                                                                   \
                size_t i = 0;                                                                                        \
                if (p + 4 <= positions) {                                                                            \
                    for (; i < count; i++)                                                                           \
                        for (int q = 0; q < 4; q++)                                                                  \
                            sums[q] += (SUM)values[i] * x[q * x_stride + AT(i)];                                     \
                    for (int q = 0; q < 4; q++, to += y_stride)                                                      \
                        *to = (add ? *to : bias ? bias[r] : 0.0f) + (float)sums[q] * (FACTOR);                       \
                    p += 3;                                                                                          \
                    continue;                                                                                        \
                }                                                                                                    \
                for (; i + 4 <= count; i += 4)                                                                       \
                    for (int q = 0; q < 4; q++)                                                                      \
                        sums[q] += (SUM)values[i + q] * x[AT(i + q)];                                                \
                for (; i < count; i++)                                                                               \
                    sums[0] += (SUM)values[i] * x[AT(i)];                                                            \
                *to = (add ? *to : bias ? bias[r] : 0.0f)                                                            \
                      + (float)(sums[0] + sums[1] + (sums[2] + sums[3])) * (FACTOR);                                 \
            }                                                                                                        \
        }                                                                                                            \
    }
#define LISTED(i) index[i]
#define IN_ORDER(i) (i)
#define NONZEROS matrix->begin[r], matrix->begin[r + 1] - matrix->begin[r], LISTED
#define WHOLE_ROW (size_t)r * matrix->columns, matrix->columns, IN_ORDER
#define EXPAND(macro, ...) macro(__VA_ARGS__)

EXPAND(ROW_AFTER_ROW, sv_rows_float, float, float, float, vector->floats, NONZEROS, 1.0f)
EXPAND(ROW_AFTER_ROW, sv_rows8, int8_t, int8_t, int32_t, vector->codes, NONZEROS, matrix->scales[r] * vector->scale)
EXPAND(ROW_AFTER_ROW, sv_rows16, int16_t, int16_t, int64_t, vector->codes, NONZEROS, matrix->scales[r] * vector->scale)
EXPAND(ROW_AFTER_ROW, sv_plain8, int8_t, int8_t, int32_t, vector->codes, WHOLE_ROW, matrix->scales[r] * vector->scale)
EXPAND(ROW_AFTER_ROW, sv_plain16, int16_t, int16_t, int64_t, vector->codes, WHOLE_ROW, matrix->scales[r] * vector->scale)

const sv_kernels sv_portable_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16, .columns = columns,
    .plain16 = sv_plain16,
};
