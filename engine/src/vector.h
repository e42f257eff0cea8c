/* Functions of every element, for as many as there are, that may work in place, and of rows. Compiled for each kind of
 * instructions, and chosen with the matrices' kernels. To within 2e-7 relative, or 1e-7 where the value is smaller
 * than 1; of sums, relative to the sum of magnitudes. */
#ifndef SV_VECTOR_H
#define SV_VECTOR_H

#include "matrix.h"

typedef struct {
    void (*exp)(float *y, const float *x, size_t count);
    void (*log)(float *y, const float *x, size_t count);
    void (*tanh)(float *y, const float *x, size_t count);
    void (*sigmoid)(float *y, const float *x, size_t count);
    void (*elu)(float *y, const float *x, size_t count);
    void (*log1p)(float *y, const float *x, size_t count);
    void (*power)(float *y, const float *x, float exponent, size_t count); /* of x > 0 */
    void (*gate)(float *y, const float *a, const float *b, size_t count);  /* a sigmoid(b) */
    void (*add)(float *y, const float *a, const float *b, size_t count);
    void (*sub)(float *y, const float *a, const float *b, size_t count);
    void (*mul)(float *y, const float *a, const float *b, size_t count);
    void (*div)(float *y, const float *a, const float *b, size_t count);
    void (*affine)(float *y, const float *x, float scale, float shift, size_t count);
    void (*channels)(float *y, const float *x, const float *scale, const float *shift, size_t channels, size_t places);
    /* x, times the slope of its channel, or the only one, where it is below 0. */
    void (*prelu)(float *y, const float *x, const float *slope, size_t channels, size_t places);
    /* One step of an LSTM from its four gates' sums [4 size], in the order i, f, g, o: new cell in place, new hidden.
     */
    void (*lstm)(const float *gates, float *cell, float *hidden, size_t size);
    /* One step of a GRU from what comes in and what it hears of itself, each the sums of its three gates [3 size], in
     * the order r, z, n: new hidden in place. */
    void (*gru)(const float *given, const float *heard, float *hidden, size_t size);
    /* The sum [size] of so many rows by shares, not in place; rows are so many floats apart. */
    void (*mix)(float *y, const float *shares, const float *rows, size_t apart, size_t size, size_t count);
    float (*sum)(const float *x, size_t count);
    float (*sum_of_squares)(const float *x, float centre, size_t count); /* of the distances from `centre` */
    float (*largest)(const float *x, size_t count);                      /* magnitude */
} sv_functions;

const sv_functions *sv_functions_for(sv_machine machine);

#endif
