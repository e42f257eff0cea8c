/* What matrix.c packs and the kernels multiply, and what a kind of instructions has to offer. */
#ifndef SV_KERNELS_H
#define SV_KERNELS_H

#include "../vector.h"

#define SV_SLICE 16                      /* rows that are multiplied side by side */
#define SV_BAND 1024                     /* rows among which the packed order may differ from that of y */
#define SV_STEP 64                       /* products of 8 bits of one step: 4 for each row of a slice */
#define SV_BEYOND 256                    /* bytes that may be read past the last code */

typedef enum {
    SV_ROWS,                             /* the nonzeros of each row: column and value */
    SV_PLAIN,                            /* row after row, zeros and all, of whole numbers */
    SV_COLUMNS,                          /* of a slice, column after column: floats */
    SV_STEPS_DENSE,                      /* of a slice, step after step: 4 columns, the same for all rows */
    SV_STEPS_BLOCK,                      /* the same, but only of columns that are not zero in all rows */
    SV_STEPS_SPARSE                      /* 4 columns for each row, all within a window */
} sv_layout;

/* sv_multiply for one layout. */
typedef void sv_product(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride,
                        const float *bias, int add, float *y, size_t y_stride);

struct sv_matrix {
    uint32_t rows, columns;
    size_t bytes;
    sv_product *multiply;
    sv_layout layout;
    int nibbles;                         /* 4-bit codes of `table`, else values */
    const uint16_t *places;              /* of each row its place among those of its band, as packed; NULL: in order */
    const float *scales;                 /* whole numbers only, for each row as packed, up to a full slice */
    const int32_t *sums;                 /* 128 times the sum of the row, likewise */
    const uint32_t *begin;               /* of each row its first nonzero, of each slice its first step; and the end */
    const uint32_t *index;               /* column of a nonzero */
    const void *values;                  /* float, int8_t or int16_t; of 4 bits: value i in the low half of byte i, i < 32,
                                            else in the high half of byte i - 32 */
    const uint16_t *windows;             /* of a step: the first column that it sees */
    const uint8_t *picks;                /* of a step: columns counted from there, 4, or 64: 4 for each row */
    int8_t table[16];
};

/* Of one kind of instructions. */
typedef struct {
    const sv_functions *functions;
    /* codes[i] = x[i] times `factor`, rounded, plus `zero`. */
    void (*quantize8)(uint8_t *codes, const float *x, size_t count, float factor, int zero);
    void (*quantize16)(int16_t *codes, const float *x, size_t count, float factor);
    sv_product *columns;                 /* of floats */
    sv_product *plain16;
    sv_product *steps;                   /* of 8 bits, all three layouts of steps; NULL: none of them */
    uint32_t window;                     /* columns that a step of sparse or block layout can choose from */
    int zero;                            /* code of 8 bits for 0 */
    float dense, block, sparse;          /* what a step costs, against each other */
} sv_kernels;

const sv_kernels *sv_kernels_for(sv_machine machine);

/* Layouts that gain nothing from special instructions, in portable.c. */
sv_product sv_rows_float, sv_rows8, sv_rows16, sv_plain8, sv_plain16;

extern const sv_kernels sv_portable_kernels;
#if defined(__x86_64__)
extern const sv_kernels sv_avx2_kernels, sv_avx512_kernels;
#elif defined(__aarch64__)
extern const sv_kernels sv_neon_kernels;
#endif

/* The nonzeros of a matrix, row after row; of whole numbers the value is `value` times the row's `scale`. */
typedef struct {
    uint32_t rows, columns;
    uint32_t *begin;                     /* [rows + 1] */
    uint32_t *column;
    float *value, *scale;
} sv_nonzeros;

int sv_lay_steps(sv_matrix *matrix, const sv_nonzeros *list, const sv_kernels *kernels, sv_pool *pool);  /* 0: no memory */

#endif
