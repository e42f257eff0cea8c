/* How a matrix is packed: band by band its nonzeros are listed, made whole numbers if they are to be, and laid out for
 * the kernels. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

static void forget(sv_nonzeros *list) {
    free(list->begin);
    free(list->column);
    free(list->value);
    free(list->scale);
}

static uint32_t scale_of(const sv_tensor *tensor, size_t element) {
    const sv_entry *entry = tensor->entry;
    size_t stride = 1;
    if (entry->scales <= 1)
        return 0;
    for (uint32_t axis = entry->axis + 1; axis < entry->axes; axis++)
        stride *= entry->shape[axis];
    return (uint32_t)(element / stride % entry->shape[entry->axis]);
}

static size_t element_of(const sv_weights *weights, uint32_t row, uint32_t column) {
    return weights->row_offsets ? weights->row_offsets[row] + weights->column_offsets[column]
                                : (size_t)row * weights->columns + column;
}

/* Whether each row has the levels of a single scale, as far as 8 bits hold them. */
static int has_levels(const sv_weights *weights) {
    const sv_tensor *tensor = weights->tensor;
    if (tensor->floats || !tensor->scales || tensor->entry->largest > 127)
        return 0;
    for (uint32_t r = 0; r < weights->rows; r++) {
        uint32_t first = scale_of(tensor, element_of(weights, r, 0));
        for (uint32_t c = 1; c < weights->columns; c++)
            if (scale_of(tensor, element_of(weights, r, c)) != first)
                return 0;
    }
    return 1;
}

/* Of the rows of a band, with room for so many nonzeros. */
static int make_list(sv_nonzeros *list, const sv_weights *weights, uint32_t rows, size_t count) {
    *list = (sv_nonzeros){.rows = rows, .columns = weights->columns};
    if (count < SIZE_MAX / 8) {
        list->begin = calloc((size_t)rows + 2, sizeof *list->begin);
        list->scale = calloc((size_t)rows + 1, sizeof *list->scale);
        list->column = malloc((count + 1) * sizeof *list->column);
        list->value = malloc((count + 1) * sizeof *list->value);
    }
    return list->begin && list->scale && list->column && list->value;
}

static int list_all(sv_nonzeros *list, const sv_weights *weights, uint32_t first, uint32_t rows, int levels) {
    const sv_tensor *tensor = weights->tensor;
    size_t count = 0;
    if (!make_list(list, weights, rows, (size_t)rows * weights->columns))
        return 0;
    for (uint32_t r = 0; r < rows; r++) {
        list->begin[r] = (uint32_t)count;
        for (uint32_t c = 0; c < weights->columns; c++) {
            size_t element = element_of(weights, first + r, c);
            float value = tensor->floats ? tensor->floats[element]
                : tensor->codes8         ? tensor->table[tensor->codes8[element]]
                                         : tensor->table[tensor->codes16[element]];
            if (value == 0.0f)
                continue;
            list->column[count] = c;
            list->value[count++] = levels ? value : sv_element(tensor, element);
        }
        if (levels)
            list->scale[r] = tensor->scales[scale_of(tensor, element_of(weights, first + r, 0))];
    }
    list->begin[rows] = (uint32_t)count;
    return 1;
}

static int rising(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The row within a band of a number that was found; UINT32_MAX: it is 0 after all, or not of the band. */
static uint32_t row_of(const sv_weights *weights, uint32_t first, uint32_t rows, size_t number) {
    const sv_found *found = weights->tensor->found;
    uint32_t row = found->elements[number] / weights->columns;
    return row - first < rows && weights->tensor->table[found->codes[number]] != 0.0f ? row - first : UINT32_MAX;
}

/* Lists the elements that were found, row after row; a row is sorted by columns while its codes lie below them. */
static int list_found(sv_nonzeros *list, const sv_weights *weights, uint32_t first, uint32_t rows) {
    const sv_found *found = weights->tensor->found;
    size_t count = 0;
    for (size_t i = 0; i < found->count; i++)
        count += row_of(weights, first, rows, i) != UINT32_MAX;
    if (!make_list(list, weights, rows, count))
        return 0;
    uint32_t *ends = list->begin + 1, row; /* of the rows before, until all are listed */
    for (size_t i = 0; i < found->count; i++)
        if ((row = row_of(weights, first, rows, i)) != UINT32_MAX)
            ends[1 + row]++;
    for (uint32_t r = 0; r < rows; r++)
        ends[r + 1] += ends[r];
    for (size_t i = 0; i < found->count; i++)
        if ((row = row_of(weights, first, rows, i)) != UINT32_MAX)
            list->column[ends[row]++] = found->elements[i] % weights->columns << 8 | found->codes[i];
    for (uint32_t r = 0; r < rows; r++)
        qsort(list->column + list->begin[r], list->begin[r + 1] - list->begin[r], sizeof *list->column, rising);
    for (size_t i = 0; i < count; i++) {
        list->value[i] = weights->tensor->table[list->column[i] & 255];
        list->column[i] >>= 8;
    }
    return 1;
}

static float largest_of(const float *value, size_t count) {
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        float size = value[i] < 0 ? -value[i] : value[i];
        largest = size > largest ? size : largest;
    }
    return largest;
}

static float nearest(float x) { return x < 0 ? -(float)(int32_t)(0.5f - x) : (float)(int32_t)(0.5f + x); }

#define MOST_ERROR 3e-5 /* of the energy of weights that one scale for all rows rounds: 45 dB, as errors add up */

/* The scale with the least error of all whole numbers' that take the largest of these values to 64 .. 127: few values
 * of a table leave it room to fit them well. `error`: its share of their energy. */
static float fitting_scale(const float *value, uint32_t count, const sv_tensor *tensor, double *error) {
    const float *table = tensor->table;
    uint32_t counts[16] = {0}, size = tensor->table_size;
    float largest = largest_of(value, count), best_scale = 0;
    double energy = 0, least = -1;
    for (uint32_t i = 0, code; i < count; i++) {
        for (code = 0; code + 1 < size && table[code] != value[i];)
            code++;
        counts[code]++;
        energy += (double)value[i] * value[i];
    }
    for (int most = 127; most >= 64 && largest > 0; most--) {
        double sum = 0;
        float scale = largest / (float)most;
        for (uint32_t code = 0; code < size; code++) {
            double off = counts[code] ? table[code] - (double)nearest(table[code] / scale) * scale : 0;
            sum += counts[code] * off * off;
        }
        if (least < 0 || sum < least) {
            least = sum;
            best_scale = scale;
        }
    }
    *error = energy > 0 ? least / energy : 0;
    return best_scale;
}

/* Makes whole numbers of the values, with a scale for each row; a table of up to 16 values that one fits has one. */
static void round_values(sv_nonzeros *list, const sv_tensor *tensor, int most) {
    uint32_t kept = 0, from = 0;
    int few = most == 127 && !tensor->floats && !tensor->scales && tensor->table_size <= 16;
    double error = 0;
    float shared = few ? fitting_scale(list->value, list->begin[list->rows], tensor, &error) : 0;
    for (uint32_t r = 0; r < list->rows; r++) {
        uint32_t to = list->begin[r + 1];
        float scale = shared;
        if (!few)
            scale = largest_of(list->value + from, to - from) / (float)most;
        else if (error > MOST_ERROR)
            scale = fitting_scale(list->value + from, to - from, tensor, &(double){0});
        list->scale[r] = scale;
        list->begin[r] = kept;
        for (; from < to; from++) {
            float code = scale >= 1.17549435e-38f ? nearest(list->value[from] / scale) : 0;
            if (code != 0) {
                list->column[kept] = list->column[from];
                list->value[kept++] = code > (float)most ? (float)most : code < (float)-most ? (float)-most : code;
            }
        }
    }
    list->begin[list->rows] = kept;
}

/* The rows of a band; NULL: no memory. */
static sv_matrix *pack_band(const sv_weights *weights, uint32_t first, int levels, sv_machine machine, sv_pool *pool) {
    uint32_t rows = weights->rows - first < SV_BAND ? weights->rows - first : SV_BAND;
    sv_nonzeros list = {0};
    sv_matrix *made = sv_take(pool, 1, sizeof *made);
    int done = made
        && (weights->tensor->found ? list_found(&list, weights, first, rows)
                                   : list_all(&list, weights, first, rows, levels));
    if (done) {
        made->first = first;
        made->rows = rows;
        made->columns = weights->columns;
        if (machine.precision != SV_FLOAT32 && !levels)
            round_values(&list, weights->tensor, machine.precision == SV_INT16 ? 32767 : 127);
        done = sv_lay_steps(made, &list, machine.precision, sv_kernels_for(machine), pool);
    }
    forget(&list);
    return done ? made : NULL;
}

sv_status sv_pack(const sv_matrix **matrix, const sv_weights *weights, sv_machine machine, sv_pool *pool,
                  sv_failure *failure) {
    const char *name = weights->tensor->entry->name;
    const sv_matrix *top = NULL, **end = &top;
    *matrix = NULL;
    if (machine.precision != SV_FLOAT32 && weights->columns > UINT16_MAX)
        return sv_fail(failure, SV_UNSUPPORTED, "%s: %u columns are too many for whole numbers; at most %u, or float32",
                       name, weights->columns, (unsigned)UINT16_MAX);
    int levels = machine.precision != SV_FLOAT32 && has_levels(weights);
    for (uint32_t first = 0; first < weights->rows; first += SV_BAND) {
        sv_matrix *band = pack_band(weights, first, levels, machine, pool);
        if (!band)
            return sv_fail(failure, SV_NO_MEMORY, "no memory to pack %s", name);
        *end = band;
        end = &band->below;
    }
    *matrix = top;
    return SV_OK;
}

size_t sv_codes_bytes(size_t count) { return count > (SIZE_MAX - SV_BEYOND) / 2 ? SIZE_MAX : 2 * count + SV_BEYOND; }

void sv_quantize(sv_vector *vector, const float *values, size_t count, sv_machine machine) {
    const sv_kernels *kernels = sv_kernels_for(machine);
    vector->floats = values;
    vector->count = count;
    vector->scale = 1;
    if (machine.precision == SV_FLOAT32)
        return;
    float largest = kernels->functions->largest(values, count), most = machine.precision == SV_INT16 ? 32767 : 127;
    float factor = largest > 1e-34f && largest < __builtin_inff() ? most / largest : 0;
    if (!factor) { /* nothing but zeros, or else what is not finite makes all products NaN */
        vector->scale = largest <= 1e-34f ? 0 : __builtin_nanf("");
        memset(vector->codes, machine.precision == SV_INT16 ? 0 : kernels->zero, sv_codes_bytes(count));
        return;
    }
    vector->scale = largest / most;
    if (machine.precision == SV_INT16) {
        kernels->quantize16(vector->codes, values, count, factor);
        memset((int16_t *)vector->codes + count, 0, SV_BEYOND);
    } else {
        kernels->quantize8(vector->codes, values, count, factor, kernels->zero);
        memset((uint8_t *)vector->codes + count, kernels->zero, SV_BEYOND);
    }
}

#define TOGETHER 16 /* positions that are listed before a band goes through them */

void sv_multiply(const sv_matrix *matrix, const sv_vector *vectors, size_t frames, size_t positions, size_t x_stride,
                 const float *bias, int add, float *y, size_t y_stride, size_t y_frame) {
    sv_position at[TOGETHER];
    size_t count = 0, bytes = matrix->precision == SV_FLOAT32 ? 4 : matrix->precision == SV_INT16 ? 2 : 1;
    for (size_t t = 0; t < frames; t++)
        for (size_t p = 0; p < positions; p++) {
            const char *x = matrix->precision == SV_FLOAT32 ? (const char *)vectors[t].floats : vectors[t].codes;
            at[count++] = (sv_position){x + p * x_stride * bytes, vectors[t].scale, y + t * y_frame + p * y_stride};
            if (count < TOGETHER && (t + 1 < frames || p + 1 < positions))
                continue;
            for (const sv_matrix *band = matrix; band; band = band->below)
                band->multiply(band, at, count, bias, add);
            count = 0;
        }
}
