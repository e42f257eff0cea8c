/* Products of matrices in steps, by bands of rows, for one kind of instructions. The file that includes this has
 * `one_position` and `four_positions`, which write a slice's products, those of the next position SV_BAND further on. */

INLINE void steps_of(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,
                     const float *bias, int add, float *y, size_t y_stride, sv_layout layout, int nibbles)
{
    float products[4 * SV_BAND];
    for (uint32_t band = 0; band < matrix->rows; band += SV_BAND) {
        uint32_t rows = matrix->rows - band < SV_BAND ? matrix->rows - band : SV_BAND;
        for (size_t p = 0, now; p < positions; p += now) {
            const uint8_t *x = (const uint8_t *)vector->codes + p * x_stride;
            now = p + 4 <= positions ? 4 : 1;
            for (uint32_t row = 0; row < rows; row += SV_SLICE)
                if (now == 4)
                    four_positions(matrix, (band + row) / SV_SLICE, x, x_stride, vector->scale, products + row, layout,
                                   nibbles);
                else
                    one_position(matrix, (band + row) / SV_SLICE, x, vector->scale, products + row, layout, nibbles);
            for (size_t q = 0; q < now; q++) {
                const uint16_t *places = matrix->places ? matrix->places + band : NULL;
                float *to = y + (p + q) * y_stride + band;
                const float *base = add ? to : bias ? bias + band : NULL, *from = products + q * SV_BAND;
                for (uint32_t r = 0; r < rows; r++)
                    to[r] = (base ? base[r] : 0.0f) + from[places ? places[r] : r];
            }
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
