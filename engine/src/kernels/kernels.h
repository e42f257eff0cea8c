/* What matrix.c packs and the kernels multiply, and what a kind of instructions has to offer. */
#ifndef SV_KERNELS_H
#define SV_KERNELS_H

#include "../vector.h"

#define SV_SLICE 16   /* rows that are multiplied side by side */
#define SV_BAND 1024  /* rows, at most, that are packed together: what they take at the time is small */
#define SV_STEP 64    /* bytes of the values of one step: 4, 2 or 1 for each row of a slice */
#define SV_BEYOND 256 /* bytes that may be read past the last code */

/* What is multiplied of the rows of a slice, step after step. */
typedef enum {
    SV_STEPS_DENSE, /* the next columns, the same for all rows */
    SV_STEPS_BLOCK, /* the same, but only of columns that are not zero in all rows */
    SV_STEPS_SPARSE /* columns for each row, all within a window */
} sv_layout;

/* One product of a matrix: what it is multiplied with, and where the sums go. */
typedef struct {
    const void *x; /* floats or codes */
    float scale;   /* of a code */
    float *y;
} sv_position;

/* The products of a band of one layout, as sv_multiply has them. */
typedef void sv_product(const sv_matrix *matrix, const sv_position *positions, size_t count, const float *bias,
                        int add);

/* Up to SV_BAND rows, and those below them. */
struct sv_matrix {
    const sv_matrix *below;
    uint32_t first, rows, columns; /* first: the number of its first row */
    sv_precision precision;
    sv_product *multiply;
    sv_layout layout;
    int nibbles;             /* 4-bit codes of `table`, else values */
    const uint16_t *places;  /* of each row its place, as packed; NULL: in order */
    const float *scales;     /* whole numbers only, for each row as packed, up to a full slice */
    const int32_t *sums;     /* of 8 bits: the code of 0 times the sum of the row, likewise */
    const uint32_t *begin;   /* of each slice its first step; and the end */
    const void *values;      /* int8_t, int16_t or float; of 4 bits: the first half of a step in the
                                low halves of its bytes, the others in the high ones */
    const uint32_t *windows; /* of a step: the first column that it sees */
    const uint8_t *picks;    /* of a step: columns counted from there, for each row or for all of them */
    union {
        int8_t of8[16];
        int16_t of16[16];
        float floats[16];
    } table;
};

/* Steps of one precision. */
typedef struct {
    sv_product *multiply;
    uint32_t window;            /* columns that a step can choose from */
    uint32_t least;             /* columns of a sparse matrix: with fewer a window would reach beyond floats */
    int nibbles;                /* whether values may be of 4 bits */
    float dense, block, sparse; /* what a step costs, against each other */
} sv_steps;

/* Of one kind of instructions. */
typedef struct {
    const sv_functions *functions;
    /* codes[i] = x[i] times `factor`, rounded, plus `zero`. */
    void (*quantize8)(uint8_t *codes, const float *x, size_t count, float factor, int zero);
    void (*quantize16)(int16_t *codes, const float *x, size_t count, float factor);
    int zero;          /* code of 8 bits for 0 */
    sv_steps steps[3]; /* by precision */
} sv_kernels;

const sv_kernels *sv_kernels_for(sv_machine machine);

extern const sv_kernels sv_portable_kernels;
#if defined(__x86_64__)
extern const sv_kernels sv_avx2_kernels, sv_avx512_kernels;
#elif defined(__aarch64__)
extern const sv_kernels sv_neon_kernels;
#endif

/* The nonzeros of a matrix, row after row; of whole numbers the value is `value` times the row's `scale`. */
typedef struct {
    uint32_t rows, columns;
    uint32_t *begin; /* [rows + 1] */
    uint32_t *column;
    float *value, *scale;
} sv_nonzeros;

/* Lays a matrix out as is cheapest; 0: no memory. */
int sv_lay_steps(sv_matrix *matrix, const sv_nonzeros *list, sv_precision precision, const sv_kernels *kernels,
                 sv_pool *pool);

#endif
