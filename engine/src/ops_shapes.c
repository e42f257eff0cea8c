/* What moves elements about and changes none. */
#include <string.h>

#include "ops.h"

/* The value's elements are where they were: a view. */
static sv_status as_it_is(sv_builder *builder, sv_task *task, uint32_t axes, const uint32_t *shape) {
    task->room = SV_VIEW;
    return sv_shape(builder, task, axes, shape);
}

static uint32_t last_axis(const sv_value *x) { return x->shape[x->axes - 1]; }

/* Inputs of the same frames and of the same shape, but for the last axis where `joined`. */
static sv_status check_parts(sv_builder *builder, sv_task *task, int joined) {
    const sv_value *first = sv_input(builder, task, 0);
    for (uint32_t i = 1; i < task->input_count; i++) {
        const sv_value *x = sv_input(builder, task, i);
        int fits = x->axes == first->axes && sv_same_clock(x->clock, first->clock);
        for (uint32_t axis = 0; fits && axis + (joined != 0) < x->axes; axis++)
            fits = x->shape[axis] == first->shape[axis];
        if (!fits)
            return sv_misfit(builder, task, "expected values that fit beside each other, got a misfit in input %u", i);
    }
    return SV_OK;
}

static void run_concat(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    size_t width = last_axis(value), places = sv_frames(work, value->clock) * value->size / width;
    float *to = sv_data(work, task->value);
    for (uint32_t part = 0; part < task->input_count; part++) {
        const float *from = sv_data(work, task->inputs[part]);
        size_t count = last_axis(&work->plan->values[task->inputs[part]]);
        for (size_t i = 0; i < places; i++)
            memcpy(to + i * width, from + i * count, count * sizeof *to);
        to += count;
    }
}

sv_status sv_concat_task(sv_builder *builder, sv_task *task) {
    const sv_value *first = sv_input(builder, task, 0);
    uint32_t shape[SV_AXES];
    uint64_t width = 0;
    task->run = run_concat;
    if (check_parts(builder, task, 1))
        return builder->failure->status;
    for (uint32_t i = 0; i < task->input_count; i++)
        width += last_axis(sv_input(builder, task, i));
    if (width > UINT32_MAX)
        return sv_misfit(builder, task, "expected at most %u channels, got more", UINT32_MAX);
    memcpy(shape, first->shape, sizeof shape);
    shape[first->axes - 1] = (uint32_t)width;
    return sv_shape(builder, task, first->axes, shape);
}

static void run_stack(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    size_t parts = task->input_count, count = sv_frames(work, value->clock) * value->size / parts;
    float *to = sv_data(work, task->value);
    for (size_t part = 0; part < parts; part++) {
        const float *from = sv_data(work, task->inputs[part]);
        for (size_t i = 0; i < count; i++)
            to[i * parts + part] = from[i];
    }
}

sv_status sv_stack_task(sv_builder *builder, sv_task *task) {
    const sv_value *first = sv_input(builder, task, 0);
    uint32_t shape[SV_AXES + 1];
    task->run = run_stack;
    if (check_parts(builder, task, 0))
        return builder->failure->status;
    memcpy(shape, first->shape, sizeof first->shape);
    shape[first->axes] = task->input_count;
    return sv_shape(builder, task, first->axes + 1, shape);
}

static void run_slice(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    size_t count = last_axis(value), width = last_axis(&work->plan->values[task->inputs[0]]);
    size_t places = sv_frames(work, value->clock) * value->size / count;
    const float *from = sv_data(work, task->inputs[0]) + task->attributes->start;
    float *to = sv_data(work, task->value);
    for (size_t i = 0; i < places; i++)
        memcpy(to + i * count, from + i * width, count * sizeof *to);
}

sv_status sv_slice_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_attributes *a = task->attributes;
    uint32_t shape[SV_AXES];
    task->run = run_slice;
    if (a->start >= a->stop || a->stop > last_axis(x))
        return sv_misfit(builder, task, "expected a slice of %u channels, got %u to %u", last_axis(x), a->start,
                         a->stop);
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 1] = a->stop - a->start;
    return sv_shape(builder, task, x->axes, shape);
}

static void run_take(const sv_task *task, const sv_work *work) {
    const sv_attributes *a = task->attributes;
    const sv_value *value = &work->plan->values[task->value];
    size_t width = last_axis(&work->plan->values[task->inputs[0]]),
           places = sv_frames(work, value->clock) * value->size / a->channel_count;
    const float *from = sv_data(work, task->inputs[0]);
    float *to = sv_data(work, task->value);
    for (size_t i = 0; i < places; i++, from += width, to += a->channel_count)
        for (size_t c = 0; c < a->channel_count; c++)
            to[c] = a->channels[c] == SV_NO_CHANNEL ? 0 : from[a->channels[c]];
}

sv_status sv_take_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_attributes *a = task->attributes;
    uint32_t shape[SV_AXES];
    task->run = run_take;
    for (uint32_t c = 0; c < a->channel_count; c++)
        if (a->channels[c] != SV_NO_CHANNEL && a->channels[c] >= last_axis(x))
            return sv_misfit(builder, task, "expected channels below %u, got %u", last_axis(x), a->channels[c]);
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 1] = a->channel_count;
    return sv_shape(builder, task, x->axes, shape);
}

static void run_transpose(const sv_task *task, const sv_work *work) {
    const sv_value *x = &work->plan->values[task->inputs[0]];
    size_t rows = x->shape[x->axes - 2], columns = x->shape[x->axes - 1];
    size_t count = sv_frames(work, x->clock) * x->size / (rows * columns);
    const float *from = sv_data(work, task->inputs[0]);
    float *to = sv_data(work, task->value);
    for (size_t i = 0; i < count; i++, from += rows * columns, to += rows * columns)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++)
                to[c * rows + r] = from[r * columns + c];
}

static sv_status expect_two_axes(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    return x->axes >= 2 ? SV_OK : sv_misfit(builder, task, "expected two axes or more, got %u", x->axes);
}

sv_status sv_transpose_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t shape[SV_AXES];
    if (expect_two_axes(builder, task))
        return builder->failure->status;
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 1] = x->shape[x->axes - 2];
    shape[x->axes - 2] = x->shape[x->axes - 1];
    if (shape[x->axes - 1] == 1 || shape[x->axes - 2] == 1)
        return as_it_is(builder, task, x->axes, shape);
    task->run = run_transpose;
    return sv_shape(builder, task, x->axes, shape);
}

sv_status sv_flatten_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t shape[SV_AXES];
    if (expect_two_axes(builder, task))
        return builder->failure->status;
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 2] *= last_axis(x); /* no more than a frame has */
    return as_it_is(builder, task, x->axes - 1, shape);
}

sv_status sv_unflatten_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t size = task->attributes->size, shape[SV_AXES + 1];
    if (last_axis(x) % size)
        return sv_misfit(builder, task, "expected a multiple of %u channels, got %u", size, last_axis(x));
    memcpy(shape, x->shape, sizeof x->shape);
    shape[x->axes - 1] /= size;
    shape[x->axes] = size;
    return as_it_is(builder, task, x->axes + 1, shape);
}

sv_status sv_unsqueeze_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t shape[SV_AXES + 1];
    memcpy(shape, x->shape, sizeof x->shape);
    shape[x->axes] = 1;
    return as_it_is(builder, task, x->axes + 1, shape);
}

static void run_reverse(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    const float *from = sv_data(work, task->inputs[0]);
    float *to = sv_data(work, task->value);
    size_t frames = sv_frames(work, value->clock);
    for (size_t t = 0; t < frames; t++)
        memcpy(to + t * value->size, from + (frames - 1 - t) * value->size, value->size * sizeof *to);
}

sv_status sv_reverse_task(sv_builder *builder, sv_task *task) {
    task->run = run_reverse;
    return sv_same_shape(builder, task);
}

static void run_fold(const sv_task *task, const sv_work *work) {
    const sv_value *x = &work->plan->values[task->inputs[0]], *value = &work->plan->values[task->value];
    size_t size = task->attributes->size, channels = last_axis(x), places = x->size / channels;
    const float *from = sv_data(work, task->inputs[0]);
    float *to = sv_data(work, task->value);
    size_t frames = sv_frames(work, value->clock);
    for (size_t t = 0; t < frames; t++, to += value->size)
        for (size_t i = 0; i < size; i++, from += x->size)
            for (size_t place = 0; place < places; place++)
                memcpy(to + (place * size + i) * channels, from + place * channels, channels * sizeof *to);
}

sv_status sv_fold_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t size = task->attributes->size, shape[SV_AXES];
    task->run = run_fold;
    if ((uint64_t)last_axis(x) * size > UINT32_MAX || (uint64_t)x->clock.divide * size > UINT32_MAX
        || (x->clock.source == SV_ALONE && size > 1))
        return sv_misfit(builder, task, "expected frames to put side by side, got too few for %u", size);
    memcpy(shape, x->shape, sizeof shape);
    shape[x->axes - 1] *= size;
    if (sv_shape(builder, task, x->axes, shape))
        return builder->failure->status;
    builder->plan->values[task->value].clock.divide *= size;
    return SV_OK;
}
