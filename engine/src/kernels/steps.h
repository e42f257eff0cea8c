/* Products of the rows of a band in steps, for one kind of instructions. The file that includes this has its
 * NAME_positions, which writes a slice's products at 1 or 4 positions, those of the next SV_BAND further on. */
typedef void positions_of(const sv_matrix *matrix, uint32_t slice, const void *x, size_t x_stride, float scale,
                          float *products, sv_layout layout, int nibbles, int count);

INLINE void steps_of(positions_of *run, const sv_matrix *matrix, const void *vector, size_t size, float scale,
                     size_t positions, size_t x_stride, const float *bias, int add, float *y, size_t y_stride,
                     sv_layout layout, int nibbles) {
    float products[4 * SV_BAND];
    uint32_t rows = matrix->rows;
    for (size_t p = 0, now; p < positions; p += now) {
        const char *x = (const char *)vector + p * x_stride * size;
        now = p + 4 <= positions ? 4 : 1;
        for (uint32_t row = 0; row < rows; row += SV_SLICE)
            if (now == 4)
                run(matrix, row / SV_SLICE, x, x_stride, scale, products + row, layout, nibbles, 4);
            else
                run(matrix, row / SV_SLICE, x, 0, scale, products + row, layout, nibbles, 1);
        for (size_t q = 0; q < now; q++) {
            const uint16_t *places = matrix->places;
            float *to = y + (p + q) * y_stride;
            const float *base = add ? to : bias, *from = products + q * SV_BAND;
            for (uint32_t r = 0; r < rows; r++)
                to[r] = (base ? base[r] : 0.0f) + from[places ? places[r] : r];
        }
    }
}

/* Defines NAME for codes, or floats, of `size` bytes at FROM; NIBBLES: whether there are values of 4 bits. */
#define STEPS(NAME, POSITIONS, FROM, SIZE, NIBBLES)                                                                    \
    static void NAME(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,              \
                     const float *bias, int add, float *y, size_t y_stride) {                                          \
        const void *x = vector->FROM;                                                                                  \
        float scale = vector->scale;                                                                                   \
        switch (2 * matrix->layout + ((NIBBLES) && matrix->nibbles)) {                                                 \
        case 2 * SV_STEPS_DENSE:                                                                                       \
            AS(POSITIONS, SIZE, SV_STEPS_DENSE, 0);                                                                    \
            break;                                                                                                     \
        case 2 * SV_STEPS_DENSE + 1:                                                                                   \
            AS(POSITIONS, SIZE, SV_STEPS_DENSE, NIBBLES);                                                              \
            break;                                                                                                     \
        case 2 * SV_STEPS_BLOCK:                                                                                       \
            AS(POSITIONS, SIZE, SV_STEPS_BLOCK, 0);                                                                    \
            break;                                                                                                     \
        case 2 * SV_STEPS_BLOCK + 1:                                                                                   \
            AS(POSITIONS, SIZE, SV_STEPS_BLOCK, NIBBLES);                                                              \
            break;                                                                                                     \
        case 2 * SV_STEPS_SPARSE:                                                                                      \
            AS(POSITIONS, SIZE, SV_STEPS_SPARSE, 0);                                                                   \
            break;                                                                                                     \
        default:                                                                                                       \
            AS(POSITIONS, SIZE, SV_STEPS_SPARSE, NIBBLES);                                                             \
        }                                                                                                              \
    }
#define AS(POSITIONS, SIZE, LAYOUT, NIBBLES)                                                                           \
    steps_of(POSITIONS, matrix, x, SIZE, scale, positions, x_stride, bias, add, y, y_stride, LAYOUT, NIBBLES)
