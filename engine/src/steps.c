/* Matrices of 8 bits in steps: each gives 16 rows 4 products. A step sees a window of the columns and picks from it, for
 * each row (sparse) or for all rows together (block), or takes the next 4 columns (dense). What costs least is chosen. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* Where steps go; `windows` and what follows are NULL while they are only counted. */
typedef struct {
    uint32_t steps;
    uint16_t *windows;
    uint8_t *picks, *values;
    int nibbles;
    uint8_t code[256];                   /* of 4 bits, of each value + 128 */
} writer;

/* The value of the present step for row `row` of the slice, product `k` of 4. */
static void put(writer *to, uint32_t row, uint32_t k, float value)
{
    uint32_t pair = 4 * row + k;
    if (!to->values) return;
    if (to->nibbles)
        to->values[(size_t)to->steps * (SV_STEP / 2) + pair % (SV_STEP / 2)] |=
            (uint8_t)(to->code[(int)value + 128] << (pair < SV_STEP / 2 ? 0 : 4));
    else
        to->values[(size_t)to->steps * SV_STEP + pair] = (uint8_t)(int8_t)value;
}

/* Nonzeros that the rows of a slice have left. */
typedef struct { uint32_t rows, at[SV_SLICE], end[SV_SLICE]; } rest;

static rest rest_of(const sv_nonzeros *list, const uint32_t *order, uint32_t slice)
{
    rest left = {0};
    for (uint32_t i = 0; i < SV_SLICE && slice * SV_SLICE + i < list->rows; i++) {
        uint32_t row = order ? order[slice * SV_SLICE + i] : slice * SV_SLICE + i;
        left.at[i] = list->begin[row];
        left.end[i] = list->begin[row + 1];
        left.rows++;
    }
    return left;
}

/* The first column that any row has left; UINT32_MAX: none has. */
static uint32_t next_column(const sv_nonzeros *list, const rest *left)
{
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < left->rows; i++)
        if (left->at[i] < left->end[i] && list->column[left->at[i]] < first) first = list->column[left->at[i]];
    return first;
}

/* A window begins at the first column that any row has left, or just before: whoever lags behind leads, the others run
 * ahead as far as they see. It is aligned to a quarter of its size, so that loads of it are in most vectors. */
static void sparse_slice(writer *to, const sv_nonzeros *list, const uint32_t *order, uint32_t slice, uint32_t window)
{
    rest left = rest_of(list, order, slice);
    for (uint32_t first; (first = next_column(list, &left)) != UINT32_MAX; to->steps++) {
        first -= first % (window / 4);
        if (to->windows) to->windows[to->steps] = (uint16_t)first;
        for (uint32_t i = 0; i < left.rows; i++)
            for (uint32_t k = 0; k < 4 && left.at[i] < left.end[i]; k++, left.at[i]++) {
                uint32_t column = list->column[left.at[i]] - first;
                if (column >= window) break;
                if (to->picks) to->picks[(size_t)to->steps * SV_STEP + 4 * i + k] = (uint8_t)column;
                put(to, i, k, list->value[left.at[i]]);
            }
    }
}

static void block_slice(writer *to, const sv_nonzeros *list, uint32_t slice, uint32_t window)
{
    rest left = rest_of(list, NULL, slice);
    for (uint32_t first; (first = next_column(list, &left)) != UINT32_MAX; to->steps++) {
        first -= first % (window / 4);
        if (to->windows) to->windows[to->steps] = (uint16_t)first;
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t column = next_column(list, &left);
            if (column == UINT32_MAX || column - first >= window) break;
            if (to->picks) to->picks[(size_t)to->steps * 4 + k] = (uint8_t)(column - first);
            for (uint32_t i = 0; i < left.rows; i++)
                if (left.at[i] < left.end[i] && list->column[left.at[i]] == column)
                    put(to, i, k, list->value[left.at[i]++]);
        }
    }
}

static void dense_slice(writer *to, const sv_nonzeros *list, uint32_t slice)
{
    rest left = rest_of(list, NULL, slice);
    for (uint32_t first = 0; first < list->columns; first += 4, to->steps++)
        for (uint32_t i = 0; i < left.rows; i++)
            for (; left.at[i] < left.end[i] && list->column[left.at[i]] - first < 4; left.at[i]++)
                put(to, i, list->column[left.at[i]] - first, list->value[left.at[i]]);
}

static void write_steps(writer *to, uint32_t *begin, sv_layout layout, const sv_nonzeros *list, const uint32_t *order,
                        uint32_t window)
{
    uint32_t slices = (list->rows + SV_SLICE - 1) / SV_SLICE;
    for (uint32_t slice = 0; slice < slices; slice++) {
        if (begin) begin[slice] = to->steps;
        if (layout == SV_STEPS_SPARSE) sparse_slice(to, list, order, slice, window);
        else if (layout == SV_STEPS_BLOCK) block_slice(to, list, slice, window);
        else dense_slice(to, list, slice);
    }
    if (begin) begin[slices] = to->steps;
}

/* Rows of a band by their number of nonzeros, greatest first: those of a slice should be done at the same time. */
static int fuller_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static uint32_t *order_rows(const sv_nonzeros *list)
{
    uint64_t *keys = malloc(list->rows * sizeof *keys);
    uint32_t *order = keys ? malloc(list->rows * sizeof *order) : NULL;
    if (order) {
        for (uint32_t r = 0; r < list->rows; r++)
            keys[r] = (uint64_t)(list->begin[r + 1] - list->begin[r]) << 32 | (UINT32_MAX - r);
        for (uint32_t band = 0; band < list->rows; band += SV_BAND)
            qsort(keys + band, list->rows - band < SV_BAND ? list->rows - band : SV_BAND, sizeof *keys, fuller_first);
        for (uint32_t i = 0; i < list->rows; i++) order[i] = UINT32_MAX - (uint32_t)keys[i];
    }
    free(keys);
    return order;
}

/* Codes of 4 bits, if there are no more than 16 values, the zero first. */
static void number_values(writer *to, sv_matrix *matrix, const sv_nonzeros *list)
{
    int known[256] = {0}, values = 1;
    memset(matrix->table, 0, sizeof matrix->table);
    known[128] = 1;
    for (uint32_t i = 0, end = list->begin[list->rows]; i < end && values <= 16; i++) {
        int value = (int)list->value[i];
        if (known[value + 128]) continue;
        known[value + 128] = 1;
        if (values < 16) {
            to->code[value + 128] = (uint8_t)values;
            matrix->table[values] = (int8_t)value;
        }
        values++;
    }
    to->nibbles = matrix->nibbles = values <= 16;
}

/* Scales and sums in the order of the rows as packed, with zeros up to a full slice. */
static int lay_scales(sv_matrix *matrix, const sv_nonzeros *list, const uint32_t *order, int zero, sv_pool *pool)
{
    size_t padded = ((size_t)list->rows + SV_SLICE - 1) / SV_SLICE * SV_SLICE;
    float *scales = sv_take(pool, padded, sizeof *scales);
    int32_t *sums = sv_take(pool, padded, sizeof *sums);
    if (!scales || !sums) return 0;
    for (uint32_t i = 0; i < list->rows; i++) {
        uint32_t row = order ? order[i] : i;
        scales[i] = list->scale[row];
        for (uint32_t j = list->begin[row]; j < list->begin[row + 1]; j++) sums[i] += zero * (int32_t)list->value[j];
    }
    matrix->scales = scales;
    matrix->sums = sums;
    return 1;
}

/* The layout that costs least, and its steps. */
static sv_layout choose_layout(const sv_nonzeros *list, const uint32_t *order, const sv_kernels *kernels, uint32_t *steps)
{
    const float costs[] = {[SV_STEPS_DENSE] = kernels->dense, [SV_STEPS_BLOCK] = kernels->block,
                           [SV_STEPS_SPARSE] = kernels->sparse};
    sv_layout chosen = SV_STEPS_DENSE;
    float least = 0;
    for (int layout = SV_STEPS_DENSE; layout <= SV_STEPS_SPARSE; layout++) {
        writer counted = {0};
        write_steps(&counted, NULL, (sv_layout)layout, list, order, kernels->window);
        float cost = costs[layout] * (float)counted.steps;
        if (layout == SV_STEPS_DENSE || cost < least) {
            least = cost;
            chosen = (sv_layout)layout;
            *steps = counted.steps;
        }
    }
    return chosen;
}

static int lay_places(sv_matrix *matrix, const uint32_t *order, sv_pool *pool)
{
    uint16_t *places = sv_take(pool, matrix->rows, sizeof *places);
    if (!places) return 0;
    for (uint32_t i = 0; i < matrix->rows; i++) places[order[i]] = (uint16_t)(i % SV_BAND);
    matrix->places = places;
    return 1;
}

static int lay_ordered(sv_matrix *matrix, const sv_nonzeros *list, const uint32_t *order, const sv_kernels *kernels,
                       sv_pool *pool)
{
    uint32_t steps = 0, slices = (list->rows + SV_SLICE - 1) / SV_SLICE;
    writer to = {0};
    matrix->layout = choose_layout(list, order, kernels, &steps);
    matrix->multiply = kernels->steps;
    number_values(&to, matrix, list);
    uint32_t *begin = sv_take(pool, (size_t)slices + 1, sizeof *begin);
    matrix->begin = begin;
    matrix->values = to.values = sv_take(pool, steps, to.nibbles ? SV_STEP / 2 : SV_STEP);
    if (!begin || !to.values) return 0;
    if (matrix->layout != SV_STEPS_DENSE) {
        matrix->windows = to.windows = sv_take(pool, steps, sizeof *to.windows);
        matrix->picks = to.picks = sv_take(pool, steps, matrix->layout == SV_STEPS_SPARSE ? SV_STEP : 4);
        if (!to.windows || !to.picks) return 0;
    }
    write_steps(&to, begin, matrix->layout, list, order, kernels->window);
    int sorted = matrix->layout == SV_STEPS_SPARSE;
    return lay_scales(matrix, list, sorted ? order : NULL, kernels->zero, pool)
           && (!sorted || lay_places(matrix, order, pool));
}

int sv_lay_steps(sv_matrix *matrix, const sv_nonzeros *list, const sv_kernels *kernels, sv_pool *pool)
{
    uint32_t *order = order_rows(list);
    int laid = order && lay_ordered(matrix, list, order, kernels, pool);
    free(order);
    return laid;
}
