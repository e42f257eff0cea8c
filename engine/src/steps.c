/* Bands of matrices in steps: each gives 16 rows 4 products of 8 bits, 2 of 16 bits or 1 of floats. A step sees a
 * window of the columns and picks from it, for each row (sparse) or for all rows together (block), or takes the next
 * columns (dense). What costs least is chosen. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* Where steps go; `windows` and what follows are NULL while they are only counted. */
typedef struct {
    sv_precision precision;
    uint32_t each, steps; /* products of a row in a step */
    uint32_t *windows;
    uint8_t *picks;
    void *values;
    const uint8_t *codes; /* of 4 bits, of each nonzero; NULL: they have none */
} writer;

/* The list's value `i` in the present step, as product `k` of row `row` of the slice. */
static void put(writer *to, uint32_t row, uint32_t k, const sv_nonzeros *list, uint32_t i) {
    uint32_t products = SV_SLICE * to->each, place = to->each * row + k;
    size_t first = (size_t)to->steps * products;
    if (!to->values)
        return;
    if (to->codes)
        ((uint8_t *)to->values)[first / 2 + place % (products / 2)]
            |= (uint8_t)(to->codes[i] << (place < products / 2 ? 0 : 4));
    else if (to->precision == SV_INT8)
        ((int8_t *)to->values)[first + place] = (int8_t)list->value[i];
    else if (to->precision == SV_INT16)
        ((int16_t *)to->values)[first + place] = (int16_t)list->value[i];
    else
        ((float *)to->values)[first + place] = list->value[i];
}

/* Nonzeros that the rows of a slice have left, and the column of the first of each; UINT32_MAX: it has none. */
typedef struct {
    uint32_t rows, at[SV_SLICE], end[SV_SLICE], column[SV_SLICE];
} rest;

static void advance(rest *left, const sv_nonzeros *list, uint32_t i) {
    left->at[i]++;
    left->column[i] = left->at[i] < left->end[i] ? list->column[left->at[i]] : UINT32_MAX;
}

static rest rest_of(const sv_nonzeros *list, const uint32_t *order, uint32_t slice) {
    rest left = {0};
    for (uint32_t i = 0; i < SV_SLICE; i++) {
        uint32_t row = slice * SV_SLICE + i, there = row < list->rows;
        if (there && order)
            row = order[row];
        left.at[i] = there ? list->begin[row] : 0;
        left.end[i] = there ? list->begin[row + 1] : 0;
        left.column[i] = left.at[i] < left.end[i] ? list->column[left.at[i]] : UINT32_MAX;
        left.rows += there;
    }
    return left;
}

/* The first column that any row has left; UINT32_MAX: none has. */
static uint32_t next_column(const rest *left) {
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < SV_SLICE; i++)
        first = left->column[i] < first ? left->column[i] : first;
    return first;
}

/* Where a window for the column begins: aligned to a quarter of its size, so that loads of it are in most vectors, and
 * within the row, of which nothing may follow. */
static uint32_t window_at(const sv_nonzeros *list, uint32_t column, uint32_t window) {
    uint32_t first = column - column % (window / 4);
    return list->columns < window ? 0 : first + window > list->columns ? list->columns - window : first;
}

/* A window begins at the first column that any row has left, or just before: whoever lags behind leads, the others run
 * ahead as far as they see. */
static void sparse_slice(writer *to, const sv_nonzeros *list, const uint32_t *order, uint32_t slice, uint32_t window) {
    rest left = rest_of(list, order, slice);
    for (uint32_t first; (first = next_column(&left)) != UINT32_MAX; to->steps++) {
        first = window_at(list, first, window);
        if (to->windows)
            to->windows[to->steps] = first;
        for (uint32_t i = 0; i < left.rows; i++)
            for (uint32_t k = 0; k < to->each && left.column[i] - first < window; k++, advance(&left, list, i)) {
                if (to->picks)
                    to->picks[((size_t)to->steps * SV_SLICE + i) * to->each + k] = (uint8_t)(left.column[i] - first);
                put(to, i, k, list, left.at[i]);
            }
    }
}

static void block_slice(writer *to, const sv_nonzeros *list, uint32_t slice, uint32_t window) {
    rest left = rest_of(list, NULL, slice);
    for (uint32_t first; (first = next_column(&left)) != UINT32_MAX; to->steps++) {
        first = window_at(list, first, window);
        if (to->windows)
            to->windows[to->steps] = first;
        for (uint32_t k = 0, column; k < to->each && (column = next_column(&left)) - first < window; k++) {
            if (to->picks)
                to->picks[(size_t)to->steps * to->each + k] = (uint8_t)(column - first);
            for (uint32_t i = 0; i < left.rows; i++)
                if (left.column[i] == column) {
                    put(to, i, k, list, left.at[i]);
                    advance(&left, list, i);
                }
        }
    }
}

static void dense_slice(writer *to, const sv_nonzeros *list, uint32_t slice) {
    uint32_t before = to->steps;
    rest left = rest_of(list, NULL, slice);
    for (uint32_t i = 0; i < left.rows && to->values; i++)
        for (uint32_t at = left.at[i]; at < left.end[i]; at++) {
            to->steps = before + list->column[at] / to->each;
            put(to, i, list->column[at] % to->each, list, at);
        }
    to->steps = before + (list->columns + to->each - 1) / to->each;
}

static void write_steps(writer *to, uint32_t *begin, sv_layout layout, const sv_nonzeros *list, const uint32_t *order,
                        uint32_t window) {
    uint32_t slices = (list->rows + SV_SLICE - 1) / SV_SLICE;
    for (uint32_t slice = 0; slice < slices; slice++) {
        if (begin)
            begin[slice] = to->steps;
        if (layout == SV_STEPS_SPARSE)
            sparse_slice(to, list, order, slice, window);
        else if (layout == SV_STEPS_BLOCK)
            block_slice(to, list, slice, window);
        else
            dense_slice(to, list, slice);
    }
    if (begin)
        begin[slices] = to->steps;
}

/* Rows by their number of nonzeros, greatest first: those of a slice should be done at the same time. */
static int fuller_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static uint32_t *order_rows(const sv_nonzeros *list) {
    uint64_t *keys = malloc(list->rows * sizeof *keys);
    uint32_t *order = keys ? malloc(list->rows * sizeof *order) : NULL;
    if (order) {
        for (uint32_t r = 0; r < list->rows; r++)
            keys[r] = (uint64_t)(list->begin[r + 1] - list->begin[r]) << 32 | (UINT32_MAX - r);
        qsort(keys, list->rows, sizeof *keys, fuller_first);
        for (uint32_t i = 0; i < list->rows; i++)
            order[i] = UINT32_MAX - (uint32_t)keys[i];
    }
    free(keys);
    return order;
}

/* Codes of 4 bits of all values, if there are no more than 16, the zero first; else NULL. */
static uint8_t *number_values(sv_matrix *matrix, const sv_nonzeros *list, sv_precision precision) {
    uint32_t count = list->begin[list->rows], known = 1, code;
    float values[16] = {0};
    uint8_t *codes = malloc((size_t)count + 1);
    for (uint32_t i = 0; codes && i < count; i++) {
        for (code = 0; code < known && values[code] != list->value[i]; code++) {
        }
        if (code == 16) {
            free(codes);
            return NULL;
        }
        values[code] = list->value[i];
        known += code == known;
        codes[i] = (uint8_t)code;
    }
    for (code = 0; code < 16; code++)
        if (precision == SV_INT8)
            matrix->table.of8[code] = (int8_t)values[code];
        else if (precision == SV_INT16)
            matrix->table.of16[code] = (int16_t)values[code];
        else
            matrix->table.floats[code] = values[code];
    return codes;
}

/* Scales and sums in the order of the rows as packed, with zeros up to a full slice. */
static int lay_scales(sv_matrix *matrix, const sv_nonzeros *list, const uint32_t *order, int zero, sv_pool *pool) {
    size_t padded = ((size_t)list->rows + SV_SLICE - 1) / SV_SLICE * SV_SLICE;
    float *scales = sv_take(pool, padded, sizeof *scales);
    int32_t *sums = sv_take(pool, padded, sizeof *sums);
    if (!scales || !sums)
        return 0;
    for (uint32_t i = 0; i < list->rows; i++) {
        uint32_t row = order ? order[i] : i;
        scales[i] = list->scale[row];
        for (uint32_t j = list->begin[row]; j < list->begin[row + 1]; j++)
            sums[i] += zero * (int32_t)list->value[j];
    }
    matrix->scales = scales;
    matrix->sums = sums;
    return 1;
}

/* The layout that costs least, and its steps. */
static sv_layout choose_layout(const sv_nonzeros *list, const uint32_t *order, const writer *to, const sv_steps *kind,
                               uint32_t *steps) {
    const float costs[]
        = {[SV_STEPS_DENSE] = kind->dense, [SV_STEPS_BLOCK] = kind->block, [SV_STEPS_SPARSE] = kind->sparse};
    sv_layout chosen = SV_STEPS_DENSE;
    float least = 0;
    int last = list->columns < kind->least ? SV_STEPS_BLOCK : SV_STEPS_SPARSE;
    for (int layout = SV_STEPS_DENSE; layout <= last; layout++) {
        writer counted = {.precision = to->precision, .each = to->each};
        write_steps(&counted, NULL, (sv_layout)layout, list, order, kind->window);
        float cost = costs[layout] * (float)counted.steps;
        if (layout == SV_STEPS_DENSE || cost < least) {
            least = cost;
            chosen = (sv_layout)layout;
            *steps = counted.steps;
        }
    }
    return chosen;
}

static int lay_places(sv_matrix *matrix, const uint32_t *order, sv_pool *pool) {
    uint16_t *places = sv_take(pool, matrix->rows, sizeof *places);
    if (!places)
        return 0;
    for (uint32_t i = 0; i < matrix->rows; i++)
        places[order[i]] = (uint16_t)i;
    matrix->places = places;
    return 1;
}

static int lay_ordered(sv_matrix *matrix, const sv_nonzeros *list, const uint32_t *order, writer *to,
                       const sv_kernels *kernels, sv_pool *pool) {
    const sv_steps *kind = &kernels->steps[to->precision];
    uint32_t steps = 0, slices = (list->rows + SV_SLICE - 1) / SV_SLICE;
    matrix->layout = choose_layout(list, order, to, kind, &steps);
    matrix->precision = to->precision;
    matrix->multiply = kind->multiply;
    matrix->nibbles = to->codes != NULL;
    uint32_t *begin = sv_take(pool, (size_t)slices + 1, sizeof *begin);
    matrix->begin = begin;
    matrix->values = to->values = sv_take(pool, steps, to->codes ? SV_SLICE * to->each / 2 : SV_STEP);
    if (!begin || !to->values)
        return 0;
    if (matrix->layout != SV_STEPS_DENSE) {
        matrix->windows = to->windows = sv_take(pool, steps, sizeof *to->windows);
        matrix->picks = to->picks = sv_take(pool, steps, to->each * (matrix->layout == SV_STEPS_SPARSE ? SV_SLICE : 1));
        if (!to->windows || !to->picks)
            return 0;
    }
    write_steps(to, begin, matrix->layout, list, order, kind->window);
    const uint32_t *packed = matrix->layout == SV_STEPS_SPARSE ? order : NULL;
    return (to->precision == SV_FLOAT32 || lay_scales(matrix, list, packed, kernels->zero, pool))
        && (!packed || lay_places(matrix, order, pool));
}

int sv_lay_steps(sv_matrix *matrix, const sv_nonzeros *list, sv_precision precision, const sv_kernels *kernels,
                 sv_pool *pool) {
    uint8_t *codes = kernels->steps[precision].nibbles ? number_values(matrix, list, precision) : NULL;
    writer to = {.precision = precision, .each = 4u >> precision, .codes = codes};
    uint32_t *order = order_rows(list);
    int laid = order && lay_ordered(matrix, list, order, &to, kernels, pool);
    free(order);
    free(codes);
    return laid;
}
