/* How a matrix is packed: its nonzeros are listed, made whole numbers if they are to be, and laid out for the kernels.
 */
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

/* Whether each row has the levels of a single scale, as far as 8 bits hold them. */
static int has_levels(const sv_weights *weights) {
    const sv_tensor *tensor = weights->tensor;
    if (tensor->floats || !tensor->scales || tensor->entry->largest > 127)
        return 0;
    for (uint32_t r = 0; r < weights->rows; r++) {
        uint32_t first = scale_of(tensor, weights->row_offsets[r] + weights->column_offsets[0]);
        for (uint32_t c = 1; c < weights->columns; c++)
            if (scale_of(tensor, weights->row_offsets[r] + weights->column_offsets[c]) != first)
                return 0;
    }
    return 1;
}

static sv_status list_nonzeros(sv_nonzeros *list, const sv_weights *weights, int levels, sv_failure *failure) {
    const sv_tensor *tensor = weights->tensor;
    size_t elements = (size_t)weights->rows * weights->columns, count = 0;
    *list = (sv_nonzeros){.rows = weights->rows, .columns = weights->columns};
    if (elements < SIZE_MAX / 8) {
        list->begin = calloc((size_t)weights->rows + 1, sizeof *list->begin);
        list->scale = calloc((size_t)weights->rows + 1, sizeof *list->scale);
        list->column = malloc((elements + 1) * sizeof *list->column);
        list->value = malloc((elements + 1) * sizeof *list->value);
    }
    if (!list->begin || !list->scale || !list->column || !list->value)
        return sv_fail(failure, SV_NO_MEMORY, "no memory to pack %s", tensor->entry->name);
    for (uint32_t r = 0; r < weights->rows; r++) {
        size_t row = weights->row_offsets[r];
        list->begin[r] = (uint32_t)count;
        for (uint32_t c = 0; c < weights->columns; c++) {
            size_t element = row + weights->column_offsets[c];
            float value = tensor->floats ? tensor->floats[element]
                : tensor->codes8         ? tensor->table[tensor->codes8[element]]
                                         : tensor->table[tensor->codes16[element]];
            if (value == 0.0f)
                continue;
            list->column[count] = c;
            list->value[count++] = levels ? value : sv_element(tensor, element);
        }
        if (levels)
            list->scale[r] = tensor->scales[scale_of(tensor, row + weights->column_offsets[0])];
    }
    list->begin[weights->rows] = (uint32_t)count;
    return SV_OK;
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

/* The scale with the least error of all whole numbers' that take the largest value to 64 .. 127: few values of a table
 * leave it room to fit them well. */
static float fitting_scale(const float *value, size_t count, const float *table, uint32_t table_size) {
    float largest = largest_of(value, count), best_scale = largest / 127;
    double best_error = -1;
    for (int most = 127; most >= 64 && largest > 0; most--) {
        double error = 0;
        for (uint32_t i = 0; i < table_size; i++) {
            float code = table[i] / (largest / (float)most);
            if (code >= -127.5f && code <= 127.5f) {
                double off = table[i] - (double)nearest(code) * (largest / (float)most);
                error += off * off;
            }
        }
        if (best_error < 0 || error < best_error) {
            best_error = error;
            best_scale = largest / (float)most;
        }
    }
    return best_scale;
}

/* Makes whole numbers of the values, with a scale for each row; a table of up to 16 values has one for all. */
static void round_values(sv_nonzeros *list, const sv_tensor *tensor, int most) {
    uint32_t kept = 0, from = 0, end = list->begin[list->rows];
    int few = most == 127 && !tensor->floats && !tensor->scales && tensor->table_size <= 16;
    float shared = few ? fitting_scale(list->value, end, tensor->table, tensor->table_size) : 0;
    for (uint32_t r = 0; r < list->rows; r++) {
        uint32_t to = list->begin[r + 1];
        float scale = few ? shared : largest_of(list->value + from, to - from) / (float)most;
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

sv_status sv_pack(const sv_matrix **matrix, const sv_weights *weights, sv_machine machine, sv_pool *pool,
                  sv_failure *failure) {
    const char *name = weights->tensor->entry->name;
    size_t before = pool->bytes;
    sv_nonzeros list;
    sv_matrix *made = sv_take(pool, 1, sizeof *made);
    *matrix = NULL;
    if (!made)
        return sv_fail(failure, SV_NO_MEMORY, "no memory to pack %s", name);
    if (machine.precision != SV_FLOAT32 && weights->columns > UINT16_MAX)
        return sv_fail(failure, SV_UNSUPPORTED, "%s: %u columns are too many for whole numbers; at most %u, or float32",
                       name, weights->columns, (unsigned)UINT16_MAX);
    made->rows = weights->rows;
    made->columns = weights->columns;
    int levels = machine.precision != SV_FLOAT32 && has_levels(weights);
    sv_status status = list_nonzeros(&list, weights, levels, failure);
    if (status == SV_OK) {
        if (machine.precision != SV_FLOAT32 && !levels)
            round_values(&list, weights->tensor, machine.precision == SV_INT16 ? 32767 : 127);
        if (!sv_lay_steps(made, &list, machine.precision, sv_kernels_for(machine), pool))
            status = sv_fail(failure, SV_NO_MEMORY, "no memory to pack %s", name);
    }
    forget(&list);
    made->bytes = pool->bytes - before;
    *matrix = status == SV_OK ? made : NULL;
    return status;
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

void sv_multiply(const sv_matrix *matrix, const sv_vector *vector, size_t positions, size_t x_stride, const float *bias,
                 int add, float *y, size_t y_stride) {
    matrix->multiply(matrix, vector, positions, x_stride, bias, add, y, y_stride);
}

size_t sv_matrix_bytes(const sv_matrix *matrix) { return matrix->bytes; }
