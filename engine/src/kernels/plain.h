/* Steps in plain C, of values as they are: for CPUs, and precisions, that have no kernel of their own. */

/* Defines NAME for the products of values VALUE with codes CODE, EACH of a row in a step, and
 * their sums SUM. */
#define PLAIN(NAME, VALUE, CODE, EACH, SUM, FACTOR)                                                                    \
    INLINE void NAME(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,                  \
                     sv_layout layout, int nibbles, int count) {                                                       \
        SUM sums[4][SV_SLICE] = {{0}};                                                                                 \
        size_t first = matrix->begin[slice], end = matrix->begin[slice + 1];                                           \
        (void)nibbles;                                                                                                 \
        for (size_t step = first; step < end; step++) {                                                                \
            const VALUE *values = (const VALUE *)matrix->values + step * SV_SLICE * (EACH);                            \
            size_t window = layout == SV_STEPS_DENSE ? (step - first) * (EACH) : matrix->windows[step];                \
            const uint8_t *picks = layout == SV_STEPS_DENSE                                                            \
                ? NULL                                                                                                 \
                : matrix->picks + step * (EACH) * (layout == SV_STEPS_SPARSE ? SV_SLICE : 1);                          \
            for (int k = 0; k < (EACH); k++)                                                                           \
                for (int i = 0; i < SV_SLICE; i++) {                                                                   \
                    SUM value = (SUM)values[i * (EACH) + k];                                                           \
                    int pick = layout == SV_STEPS_SPARSE ? i * (EACH) + k : k;                                         \
                    size_t column = window + (layout == SV_STEPS_DENSE ? (size_t)k : picks[pick]);                     \
                    for (int q = 0; q < count; q++)                                                                    \
                        sums[q][i] += value * (SUM)((const CODE *)at[q].x)[column];                                    \
                }                                                                                                      \
        }                                                                                                              \
        for (int q = 0; q < count; q++)                                                                                \
            for (int i = 0; i < SV_SLICE; i++)                                                                         \
                products[q * SV_BAND + i] = (float)sums[q][i] * (FACTOR);                                              \
    }
PLAIN(plain8_positions, int8_t, int8_t, 4, int32_t, matrix->scales[slice * SV_SLICE + i] * at[q].scale)
PLAIN(plain16_positions, int16_t, int16_t, 2, int64_t, matrix->scales[slice * SV_SLICE + i] * at[q].scale)
PLAIN(plain_float_positions, float, float, 1, float, 1.0f)
