/* Layers with weights: each a matrix, or a few, over what lies under its kernel. */
#include <stdlib.h>
#include <string.h>

#include "operand.h"

/* Rows of a value's frame that one matrix makes: every `step`th place from `place` on. */
typedef struct {
    const sv_matrix *matrix; /* NULL: no weight reaches these places, the bias alone is there */
    const float *bias;
    size_t from, stride;        /* where its first product begins in the operand; from one to the next */
    size_t to, step, positions; /* in floats of the output, and how many */
} part;

typedef struct {
    uint32_t count, rows;
    part *parts;
} parts;

static void run_parts(const sv_task *task, const sv_work *work) {
    const parts *own = task->own;
    const sv_value *value = &work->plan->values[task->value];
    float *y = sv_data(work, task->value);
    size_t frames = sv_frames(work, value->clock);
    sv_vector x[SV_BLOCK];
    sv_make_operand(task, work);
    for (size_t t = 0, count = 0; t < frames; t += count, y += count * value->size)
        for (uint32_t i = 0; i < own->count; i++) {
            const part *of = &own->parts[i];
            count = sv_rows(task, work, t, of->from, x);
            if (of->matrix)
                sv_multiply(of->matrix, x, count, of->positions, of->stride, of->bias, 0, y + of->to, of->step,
                            value->size);
            else
                for (size_t p = 0; p < count * of->positions; p++)
                    memcpy(y + of->to + p / of->positions * value->size + p % of->positions * of->step, of->bias,
                           own->rows * sizeof *y);
        }
}

static parts *take_parts(sv_builder *builder, sv_task *task, uint32_t count, uint32_t rows) {
    parts *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own || !(own->parts = sv_take(builder->pool, count, sizeof *own->parts)))
        return NULL;
    own->count = count;
    own->rows = rows;
    task->own = own;
    task->run = run_parts;
    return own;
}

/* The offsets of rows and columns while a tensor is packed. */
typedef struct {
    sv_tensor tensor;
    size_t *rows, *columns;
} packing;

static sv_status begin_packing(sv_builder *builder, const sv_task *task, packing *at, size_t rows, size_t columns) {
    *at = (packing){.rows = malloc(rows * sizeof *at->rows), .columns = malloc(columns * sizeof *at->columns)};
    if (at->rows && at->columns && !sv_unpack(&at->tensor, task->node->tensors[0], builder->failure))
        return SV_OK;
    free(at->rows);
    free(at->columns);
    return builder->failure->status ? builder->failure->status : sv_no_memory(builder);
}

static sv_status end_packing(sv_builder *builder, packing *at) {
    sv_forget(&at->tensor);
    free(at->rows);
    free(at->columns);
    return builder->failure->status;
}

static sv_status expect_axes(sv_builder *builder, const sv_task *task, uint32_t axes, uint32_t tensor_axes) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_entry *weight = task->node->tensors[0];
    if (x->axes != axes && axes)
        return sv_misfit(builder, task, "expected values of %u axes, got %u", axes, x->axes);
    if (weight->axes != tensor_axes || !weight->elements || weight->elements > SIZE_MAX / sizeof(size_t))
        return sv_misfit(builder, task, "expected a weight of %u axes, got %u and %zu elements", tensor_axes,
                         weight->axes, weight->elements);
    return SV_OK;
}

sv_status sv_linear_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const uint32_t *of = task->node->tensors[0]->shape;
    uint32_t channels = x->shape[x->axes - 1], places, shape[SV_AXES];
    sv_machine machine = sv_machine_of(builder, task);
    if (expect_axes(builder, task, 0, 2))
        return builder->failure->status;
    if (channels != of[1])
        return sv_misfit(builder, task, "expected %u channels, got %u", of[1], channels);
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 1] = of[0];
    places = (uint32_t)(x->size / channels);
    parts *own = take_parts(builder, task, 1, of[0]);
    if (!own)
        return sv_no_memory(builder);
    own->parts[0] = (part){.stride = channels, .step = of[0], .positions = places};
    if ((task->node->tensors[1] && sv_floats(builder, task, 1, of[0], &own->parts[0].bias))
        || sv_shape(builder, task, x->axes, shape)
        || sv_take_operand(
            builder, task,
            (sv_operand){.places = places, .channels = channels, .taps = 1, .dilation = 1, .machine = machine}))
        return builder->failure->status;
    return sv_take_layer(builder, machine, task, 0, of[0], of[1], &own->parts[0].matrix);
}

/* A filter along time for each channel on its own: no matrix, but as many products as weights. */
typedef struct {
    sv_past past;
    uint32_t taps, dilation;
    const float *weight, *bias;
} filters;

static void run_filters(const sv_task *task, const sv_work *work) {
    const filters *own = task->own;
    size_t channels = own->past.width, frames = sv_frames(work, work->plan->values[task->value].clock);
    float *y = sv_data(work, task->value);
    for (size_t t = 0; t < frames; t++, y += channels) {
        memcpy(y, own->bias, channels * sizeof *y);
        for (uint32_t tap = 0; tap < own->taps; tap++) {
            size_t back = (size_t)(own->taps - 1 - tap) * own->dilation, after = own->past.after;
            const float *x = back >= after  ? sv_frame(&own->past, work, t, back - after)
                : after - back < frames - t ? sv_frame(&own->past, work, t + (after - back), 0)
                                            : NULL;
            const float *weight = own->weight + tap * channels;
            for (size_t c = 0; x && c < channels; c++)
                y[c] += weight[c] * x[c];
        }
        sv_remember(&own->past, work, t);
    }
}

static sv_status take_filters(sv_builder *builder, sv_task *task) {
    const sv_attributes *a = task->attributes;
    const uint32_t *of = task->node->tensors[0]->shape;
    filters *own = sv_take(builder->pool, 1, sizeof *own);
    size_t elements = task->node->tensors[0]->elements;
    float *turned = sv_take(builder->pool, elements, sizeof *turned);
    const float *weight;
    if (!own || !turned)
        return sv_no_memory(builder);
    *own = (filters){.taps = of[2], .dilation = a->dilation, .weight = turned};
    own->past.after = a->after;
    own->past.delay = (of[2] - 1) * a->dilation - a->after;
    task->own = own;
    task->run = run_filters;
    if (sv_take_past(builder, task, &own->past) || sv_floats(builder, task, 0, elements, &weight)
        || sv_floats(builder, task, 1, of[0], &own->bias))
        return builder->failure->status;
    for (size_t c = 0; c < of[0]; c++)
        for (size_t tap = 0; tap < of[2]; tap++)
            turned[tap * of[0] + c] = weight[c * of[2] + tap];
    return sv_shape(builder, task, 1, of);
}

sv_status sv_conv1d_task(sv_builder *builder, sv_task *task) {
    const sv_attributes *a = task->attributes;
    const uint32_t *of = task->node->tensors[0]->shape;
    const float *bias;
    packing at;
    if (expect_axes(builder, task, 1, 3))
        return builder->failure->status;
    uint32_t outputs = of[0], channels = of[1], taps = of[2], groups = a->groups;
    uint64_t reach = (uint64_t)(taps - 1) * a->dilation;
    if (outputs % groups || (uint64_t)channels * groups != sv_input(builder, task, 0)->size)
        return sv_misfit(builder, task, "expected %u groups of %u channels, got %zu in all", groups, channels,
                         sv_input(builder, task, 0)->size);
    if (reach > INT32_MAX || a->after > reach)
        return sv_misfit(builder, task, "expected at most %u frames after, got %u", (uint32_t)reach, a->after);
    if (groups == outputs && channels == 1)
        return take_filters(builder, task);
    uint32_t rows = outputs / groups;
    parts *own = take_parts(builder, task, groups, rows);
    sv_operand operand = {.places = groups, .channels = channels, .taps = taps, .dilation = a->dilation};
    operand.past.after = a->after;
    operand.machine = sv_machine_of(builder, task);
    if (!own)
        return sv_no_memory(builder);
    if (sv_floats(builder, task, 1, outputs, &bias) || sv_shape(builder, task, 1, &outputs)
        || sv_take_operand(builder, task, operand) || begin_packing(builder, task, &at, rows, (size_t)taps * channels))
        return builder->failure->status;
    for (size_t k = 0; k < taps; k++)
        for (size_t j = 0; j < channels; j++)
            at.columns[k * channels + j] = j * taps + k;
    for (size_t group = 0; group < groups; group++) {
        size_t width = (size_t)taps * channels;
        for (size_t r = 0; r < rows; r++)
            at.rows[r] = (group * rows + r) * width;
        own->parts[group]
            = (part){.bias = bias + group * rows, .from = group * width, .to = group * rows, .positions = 1};
        if (sv_take_matrix(builder, operand.machine, &at.tensor, rows, (uint32_t)width, at.rows, at.columns,
                           &own->parts[group].matrix))
            break;
    }
    return end_packing(builder, &at);
}

sv_status sv_conv2d_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_attributes *a = task->attributes;
    const uint32_t *of = task->node->tensors[0]->shape;
    packing at;
    if (expect_axes(builder, task, 2, 4))
        return builder->failure->status;
    uint32_t outputs = of[0], channels = of[1], times = of[2], bins = of[3];
    uint64_t padded = (uint64_t)x->shape[0] + 2 * (uint64_t)a->pad, width = (uint64_t)times * channels * bins;
    if (x->shape[1] != channels || padded < bins || a->pad >= bins || width > UINT32_MAX || padded > UINT32_MAX)
        return sv_misfit(builder, task, "expected %u channels and at least %u bins, got %u and %u", channels, bins,
                         x->shape[1], x->shape[0]);
    uint32_t shape[] = {(uint32_t)((padded - bins) / a->stride) + 1, outputs};
    parts *own = take_parts(builder, task, 1, outputs);
    sv_operand operand
        = {.places = x->shape[0], .channels = channels, .taps = times, .dilation = 1, .front = a->pad, .back = a->pad};
    operand.machine = sv_machine_of(builder, task);
    if (!own)
        return sv_no_memory(builder);
    own->parts[0] = (part){.stride = (size_t)a->stride * times * channels, .step = outputs, .positions = shape[0]};
    if (sv_floats(builder, task, 1, outputs, &own->parts[0].bias) || sv_shape(builder, task, 2, shape)
        || sv_take_operand(builder, task, operand) || begin_packing(builder, task, &at, outputs, (size_t)width))
        return builder->failure->status;
    for (size_t r = 0; r < outputs; r++)
        at.rows[r] = r * (size_t)width;
    for (size_t k = 0, c = 0; k < bins; k++)
        for (size_t l = 0; l < times; l++)
            for (size_t i = 0; i < channels; i++)
                at.columns[c++] = (i * times + l) * bins + k;
    sv_take_matrix(builder, operand.machine, &at.tensor, outputs, (uint32_t)width, at.rows, at.columns,
                   &own->parts[0].matrix);
    return end_packing(builder, &at);
}

/* Places of the output, counted from before `pad` of them are cut off, are g = q stride + phase: under a kernel turned
 * about, the places q - taps + 1 to q of the input. So each phase is an ordinary convolution with the weights
 * k = phase, phase + stride ... */
sv_status sv_conv_transpose2d_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_attributes *a = task->attributes;
    const uint32_t *of = task->node->tensors[0]->shape;
    const float *bias;
    packing at;
    if (expect_axes(builder, task, 2, 4))
        return builder->failure->status;
    uint32_t channels = of[0], outputs = of[1], times = of[2], bins = of[3], stride = a->stride, places = x->shape[0];
    uint64_t whole = (uint64_t)(places - 1) * stride + bins + a->extra, width = (uint64_t)times * channels;
    uint32_t most = bins / stride + (bins % stride != 0); /* taps of the phase with the most */
    if (x->shape[1] != channels || whole <= 2 * (uint64_t)a->pad || a->pad >= bins || a->extra >= stride
        || whole > UINT32_MAX || width * most > UINT32_MAX)
        return sv_misfit(builder, task, "expected %u channels and some bins, got %u and %u", channels, x->shape[1],
                         places);
    uint32_t shape[] = {(uint32_t)whole - 2 * a->pad, outputs};
    uint32_t last = (uint32_t)whole - a->pad - 1; /* the last g */
    uint32_t phases = stride < shape[0] ? stride : shape[0];
    parts *own = take_parts(builder, task, phases, outputs);
    uint32_t back = last / stride >= places ? last / stride - places + 1 : 0;
    sv_operand operand
        = {.places = places, .channels = channels, .taps = times, .dilation = 1, .front = most - 1, .back = back};
    operand.machine = sv_machine_of(builder, task);
    if (!own)
        return sv_no_memory(builder);
    if (sv_floats(builder, task, 1, outputs, &bias) || sv_shape(builder, task, 2, shape)
        || sv_take_operand(builder, task, operand) || begin_packing(builder, task, &at, outputs, (size_t)width * most))
        return builder->failure->status;
    for (size_t r = 0; r < outputs; r++)
        at.rows[r] = r * times * bins;
    for (uint32_t i = 0; i < phases; i++) {
        uint32_t first = a->pad + i, phase = first % stride; /* the first g that is kept of this phase */
        uint32_t taps = phase < bins ? (bins - phase - 1) / stride + 1 : 0;
        part *made = &own->parts[i];
        *made = (part){.bias = bias,
                       .stride = (size_t)width,
                       .to = (size_t)i * outputs,
                       .step = (size_t)phases * outputs,
                       .positions = (last - first) / stride + 1};
        if (!taps)
            continue;
        made->from = ((size_t)(first / stride) + (most - 1) - (taps - 1)) * (size_t)width;
        size_t c = 0;
        for (size_t tap = taps; tap--;)
            for (size_t l = times; l--;)
                for (size_t j = 0; j < channels; j++)
                    at.columns[c++] = (j * outputs * times + l) * bins + phase + tap * stride;
        if (sv_take_matrix(builder, operand.machine, &at.tensor, outputs, (uint32_t)c, at.rows, at.columns,
                           &made->matrix))
            break;
    }
    return end_packing(builder, &at);
}
