/* Packs matrices, multiplies them and computes functions as it is told on standard input, one job after the other; the
 * results go to standard output as they are. tests/engine/ drives it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/kernels/kernels.h"

/* Exactly the bytes asked for, so that a sanitizer sees what is read beyond them. */
static void *input(size_t size) {
    void *bytes = malloc(size ? size : 1);
    if (!bytes || fread(bytes, 1, size, stdin) != size) {
        fprintf(stderr, "wanted %zu bytes more\n", size);
        exit(1);
    }
    return bytes;
}

float sv_element(const sv_tensor *tensor, size_t index) {
    const sv_entry *entry = tensor->entry;
    if (tensor->floats)
        return tensor->floats[index];
    float value = tensor->table[tensor->codes8 ? tensor->codes8[index] : tensor->codes16[index]];
    if (!tensor->scales)
        return value;
    size_t stride = 1;
    for (uint32_t axis = entry->axis + 1; axis < entry->axes; axis++)
        stride *= entry->shape[axis];
    return value * tensor->scales[entry->scales > 1 ? index / stride % entry->shape[entry->axis] : 0];
}

/* job: precision, instructions, rows, columns, table size (0: floats), scales (0: no levels), largest level, count,
 * positions, x stride, y stride, whether there is a bias, whether to add, frames */
static int multiply(const uint32_t *job) {
    uint32_t rows = job[2], columns = job[3], elements = rows * columns;
    sv_options options = {(sv_precision)job[0], (sv_instructions)job[1]};
    sv_machine machine = sv_machine_for(&options);
    sv_entry entry = {.name = "weight",
                      .axes = 2,
                      .shape = {rows, columns},
                      .elements = elements,
                      .axis = 0,
                      .scales = job[5],
                      .largest = job[6]};
    sv_tensor tensor = {.entry = &entry, .table_size = job[4]};
    if (!job[4])
        tensor.floats = input(4 * (size_t)elements);
    else if (job[4] <= 256)
        tensor.codes8 = input(elements);
    else
        tensor.codes16 = input(2 * (size_t)elements);
    if (job[4])
        tensor.table = input(4 * (size_t)job[4]);
    if (job[5])
        tensor.scales = input(4 * (size_t)job[5]);
    size_t count = job[7], frames = job[13], y_frame = (size_t)job[8] * job[10];
    float *x = input(4 * count * frames), *bias = job[11] ? input(4 * (size_t)rows) : NULL;
    float *y = input(4 * y_frame * frames);
    sv_weights weights = {&tensor, rows, columns, NULL, NULL};
    sv_pool pool = {0};
    sv_failure failure = {0};
    const sv_matrix *matrix;
    if (sv_pack(&matrix, &weights, machine, &pool, &failure)) {
        fprintf(stderr, "%s\n", failure.text);
        return 1;
    }
    sv_vector *vectors = calloc(frames, sizeof *vectors);
    for (size_t t = 0; t < frames; t++) {
        vectors[t].codes = malloc(sv_codes_bytes(count));
        sv_quantize(&vectors[t], x + t * count, count, machine);
    }
    sv_multiply(matrix, vectors, frames, job[8], job[9], bias, (int)job[12], y, job[10], y_frame);
    uint32_t layout[2] = {(uint32_t)matrix->layout, (uint32_t)matrix->nibbles};
    fwrite(layout, 4, 2, stdout);
    fwrite(y, 4, y_frame * frames, stdout);
    sv_release(&pool);
    for (size_t t = 0; t < frames; t++)
        free(vectors[t].codes);
    free(vectors);
    free(tensor.floats);
    free(tensor.codes8);
    free(tensor.codes16);
    free(tensor.table);
    free(tensor.scales);
    free(x);
    free(bias);
    free(y);
    return 0;
}

enum { POWER = 6, GATE, AFFINE = 12, CHANNELS, PRELU, ONE_PRELU, LSTM, GRU, SUM, SUM_OF_SQUARES };

/* job: number of the function in the order of vector.h, instructions, count; then three vectors, four more for lstm,
 * six for gru. */
static void compute(const uint32_t *job) {
    sv_options options = {SV_FLOAT32, (sv_instructions)job[1]};
    const sv_functions *f = sv_functions_for(sv_machine_for(&options));
    void (*const of_one[])(float *, const float *, size_t) = {f->exp, f->log, f->tanh, f->sigmoid, f->elu, f->log1p};
    void (*const of_two[])(float *, const float *, const float *, size_t) = {f->gate, f->add, f->sub, f->mul, f->div};
    uint32_t name = job[0];
    size_t n = job[2];
    float *a = input(4 * n), *b = input(4 * n), *c = input(4 * n), *gates = NULL;
    float *y = malloc(4 * n + 1);
    if (name == LSTM || name == GRU)
        gates = input(4 * n * (name == LSTM ? 4 : 6));
    if (name < POWER)
        of_one[name](y, a, n);
    else if (name == POWER)
        f->power(y, a, b[0], n);
    else if (name < AFFINE)
        of_two[name - GATE](y, a, b, n);
    else if (name == AFFINE)
        f->affine(y, a, b[0], c[0], n);
    else if (name == CHANNELS)
        f->channels(y, a, b, c, n, 1);
    else if (name == PRELU || name == ONE_PRELU)
        f->prelu(y, a, b, name == PRELU ? n : 1, name == PRELU ? 1 : n);
    else if (name == LSTM) {
        f->lstm(gates, a, y, n);
        fwrite(a, 4, n, stdout); /* the cell, in place */
    } else if (name == GRU) {
        f->gru(gates, gates + 3 * n, a, n);
        memcpy(y, a, 4 * n);
    } else
        y[0] = name == SUM ? f->sum(a, n) : name == SUM_OF_SQUARES ? f->sum_of_squares(a, b[0], n) : f->largest(a, n);
    fwrite(y, 4, name < SUM ? n : 1, stdout);
    free(a);
    free(b);
    free(c);
    free(gates);
    free(y);
}

/* job: instructions, size, count; then the shares, and the rows without anything between or behind them. */
static void mix(const uint32_t *job) {
    sv_options options = {SV_FLOAT32, (sv_instructions)job[0]};
    size_t size = job[1], count = job[2];
    float *shares = input(4 * count), *rows = input(4 * size * count), *y = malloc(4 * size);
    sv_functions_for(sv_machine_for(&options))->mix(y, shares, rows, size, size, count);
    fwrite(y, 4, size, stdout);
    free(shares);
    free(rows);
    free(y);
}

int main(void) {
    uint32_t job[15];
    while (fread(job, 4, 15, stdin) == 15) {
        if (job[0] == 0 && multiply(job + 1))
            return 1;
        if (job[0] == 1)
            compute(job + 1);
        if (job[0] == 2)
            mix(job + 1);
    }
    sv_options best = {SV_INT8, SV_BEST};
    uint32_t last = (uint32_t)sv_machine_for(&best).instructions; /* what this CPU has */
    fwrite(&last, 4, 1, stdout);
    return 0;
}
