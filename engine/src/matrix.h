/* Weight matrices as they are run, and their products with vectors: where the time goes. */
#ifndef SV_MATRIX_H
#define SV_MATRIX_H

#include "file.h"

/* Which elements of a tensor make a matrix: that of row r and column c is element
 * row_offsets[r] + column_offsets[c] of it. So any convolution is a matrix over what lies under its kernel. Without
 * offsets the tensor is the matrix. */
typedef struct {
    const sv_tensor *tensor; /* only where there are no offsets may its elements be `found` */
    uint32_t rows, columns;
    const size_t *row_offsets, *column_offsets;
} sv_weights;

#define SV_MOST_FOUND (1 << 24) /* columns of a matrix whose elements are `found` */

/* A matrix packed for the instructions in use; what is inside is the business of matrix.c and kernels/. */
typedef struct sv_matrix sv_matrix;

/* Chosen once per model. */
typedef struct {
    sv_precision precision;
    sv_instructions instructions;
} sv_machine;

sv_machine sv_machine_for(const sv_options *options);

/* Packs a matrix: sparse, of blocks or dense, of 4 or 8 bits, as its zeros and its table have it. */
sv_status sv_pack(const sv_matrix **matrix, const sv_weights *weights, sv_machine machine, sv_pool *pool,
                  sv_failure *failure);

/* Vectors as a product takes them: SV_FLOAT32 reads `floats` where they lie, the others `codes`, made by sv_quantize.
 * A product may begin at any of the values: the inputs of a convolution are slices of one vector that overlap. */
typedef struct {
    const float *floats;
    void *codes; /* room for sv_codes_bytes(count); readable beyond it as that says */
    float scale; /* of a code */
    size_t count;
} sv_vector;

size_t sv_codes_bytes(size_t count); /* enough for either precision, and for reads past the end */
void sv_quantize(sv_vector *vector, const float *values, size_t count, sv_machine machine);

/* y[t y_frame + p y_stride + r] = (add ? y : bias ? bias[r] : 0) + sum over c of W[r, c] x_t[p x_stride + c], for
 * t < frames, p < positions: each sum as if it were the only one. x_stride counts values of a vector. The last position
 * ends within its count. */
void sv_multiply(const sv_matrix *matrix, const sv_vector *vectors, size_t frames, size_t positions, size_t x_stride,
                 const float *bias, int add, float *y, size_t y_stride, size_t y_frame);

#endif
