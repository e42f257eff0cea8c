/* Products of the rows of a band in steps, for one kind of instructions. The file that includes this has its
 * NAME_positions, which writes a slice's products at 1 or 4 positions, those of the next SV_BAND further on: each
 * position has its sum added up in the same order, however many there are. */
typedef void positions_of(const sv_matrix *matrix, uint32_t slice, const sv_position *at, float *products,
                          sv_layout layout, int nibbles, int count);

INLINE void steps_of(positions_of *run, const sv_matrix *matrix, const sv_position *at, size_t count, const float *bias,
                     int add, sv_layout layout, int nibbles) {
    float products[4 * SV_BAND];
    uint32_t rows = matrix->rows;
    for (size_t p = 0, now; p < count; p += now) {
        now = p + 4 <= count ? 4 : 1;
        for (uint32_t row = 0; row < rows; row += SV_SLICE)
            if (now == 4)
                run(matrix, row / SV_SLICE, at + p, products + row, layout, nibbles, 4);
            else
                run(matrix, row / SV_SLICE, at + p, products + row, layout, nibbles, 1);
        for (size_t q = 0; q < now; q++) {
            const uint16_t *places = matrix->places;
            float *to = at[p + q].y + matrix->first;
            const float *base = add ? to : bias ? bias + matrix->first : NULL, *from = products + q * SV_BAND;
            for (uint32_t r = 0; r < rows; r++)
                to[r] = (base ? base[r] : 0.0f) + from[places ? places[r] : r];
        }
    }
}

/* Defines NAME for the layouts; NIBBLES: whether there are values of 4 bits. */
#define STEPS(NAME, POSITIONS, NIBBLES)                                                                                \
    static void NAME(const sv_matrix *matrix, const sv_position *at, size_t count, const float *bias, int add) {       \
        switch (2 * matrix->layout + ((NIBBLES) && matrix->nibbles)) {                                                 \
        case 2 * SV_STEPS_DENSE:                                                                                       \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_DENSE, 0);                                      \
            break;                                                                                                     \
        case 2 * SV_STEPS_DENSE + 1:                                                                                   \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_DENSE, NIBBLES);                                \
            break;                                                                                                     \
        case 2 * SV_STEPS_BLOCK:                                                                                       \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_BLOCK, 0);                                      \
            break;                                                                                                     \
        case 2 * SV_STEPS_BLOCK + 1:                                                                                   \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_BLOCK, NIBBLES);                                \
            break;                                                                                                     \
        case 2 * SV_STEPS_SPARSE:                                                                                      \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_SPARSE, 0);                                     \
            break;                                                                                                     \
        default:                                                                                                       \
            steps_of(POSITIONS, matrix, at, count, bias, add, SV_STEPS_SPARSE, NIBBLES);                               \
        }                                                                                                              \
    }
