/* What looks at all channels of a frame, or at all frames. */
#include <math.h>
#include <string.h>

#include "ops.h"

typedef struct {
    const float *weight, *bias;
    uint32_t channels;
} norm;

static sv_status take_norm(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    norm *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own)
        return sv_no_memory(builder);
    own->channels = x->shape[x->axes - 1];
    task->own = own;
    task->room = SV_IN_PLACE;
    if (sv_floats(builder, task, 0, own->channels, &own->weight)
        || sv_floats(builder, task, 1, own->channels, &own->bias))
        return builder->failure->status;
    return sv_same_shape(builder, task);
}

static void normalise(const norm *own, float *y, const float *x, float mean, float factor) {
    for (size_t c = 0; c < own->channels; c++)
        y[c] = (x[c] - mean) * factor * own->weight[c] + own->bias[c];
}

static void run_layer_norm(const sv_task *task, const sv_work *work) {
    const sv_functions *f = work->plan->functions;
    const norm *own = task->own;
    const sv_value *value = &work->plan->values[task->value];
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value);
    size_t channels = own->channels, places = sv_frames(work, value->clock) * value->size / channels;
    for (size_t i = 0; i < places; i++, x += channels, y += channels) {
        float mean = f->sum(x, channels) / (float)channels,
              square = f->sum_of_squares(x, mean, channels) / (float)channels;
        normalise(own, y, x, mean, 1 / sqrtf(square + (float)task->attributes->eps));
    }
}

sv_status sv_layer_norm_task(sv_builder *builder, sv_task *task) {
    task->run = run_layer_norm;
    return take_norm(builder, task);
}

static void run_global_norm(const sv_task *task, const sv_work *work) {
    const sv_functions *f = work->plan->functions;
    const norm *own = task->own;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value);
    size_t channels = own->channels, frames = sv_frames(work, work->plan->values[task->value].clock);
    double count = (double)(frames * channels), sum = 0, squares = 0;
    for (size_t t = 0; t < frames; t++)
        sum += (double)f->sum(x + t * channels, channels);
    float mean = (float)(sum / count);
    for (size_t t = 0; t < frames; t++)
        squares += (double)f->sum_of_squares(x + t * channels, mean, channels);
    float factor = (float)(1 / sqrt(squares / count + task->attributes->eps));
    for (size_t t = 0; t < frames; t++)
        normalise(own, y + t * channels, x + t * channels, mean, factor);
}

sv_status sv_global_norm_task(sv_builder *builder, sv_task *task) {
    task->run = run_global_norm;
    if (sv_input(builder, task, 0)->axes != 1)
        return sv_misfit(builder, task, "expected channels, got values of %u axes", sv_input(builder, task, 0)->axes);
    return take_norm(builder, task);
}

/* The mean [size] of all frames. */
static void mean_of_frames(float *mean, const float *x, size_t size, size_t frames) {
    memset(mean, 0, size * sizeof *mean);
    for (size_t t = 0; t < frames; t++)
        for (size_t i = 0; i < size; i++)
            mean[i] += x[t * size + i];
    for (size_t i = 0; i < size && frames; i++)
        mean[i] /= (float)frames;
}

static void run_time_mean(const sv_task *task, const sv_work *work) {
    const sv_value *x = &work->plan->values[task->inputs[0]];
    mean_of_frames(sv_data(work, task->value), sv_data(work, task->inputs[0]), x->size, sv_frames(work, x->clock));
}

sv_status sv_time_mean_task(sv_builder *builder, sv_task *task) {
    task->run = run_time_mean;
    if (sv_same_shape(builder, task))
        return builder->failure->status;
    builder->plan->values[task->value].clock = (sv_clock){SV_ALONE, 1};
    return SV_OK;
}

static void run_time_norm(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *mean = sv_room(work, task->scratch), *factor = mean + value->size;
    size_t size = value->size, frames = sv_frames(work, value->clock);
    mean_of_frames(mean, x, size, frames);
    memset(factor, 0, size * sizeof *factor);
    for (size_t t = 0; t < frames; t++)
        for (size_t i = 0; i < size; i++)
            factor[i] += (x[t * size + i] - mean[i]) * (x[t * size + i] - mean[i]);
    for (size_t i = 0; i < size && frames; i++)
        factor[i] = 1 / sqrtf(factor[i] / (float)frames + (float)task->attributes->eps);
    for (size_t t = 0; t < frames; t++)
        for (size_t i = 0; i < size; i++)
            y[t * size + i] = (x[t * size + i] - mean[i]) * factor[i];
}

sv_status sv_time_norm_task(sv_builder *builder, sv_task *task) {
    task->run = run_time_norm;
    task->room = SV_IN_PLACE;
    if (sv_same_shape(builder, task))
        return builder->failure->status;
    size_t size = builder->plan->values[task->value].size;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, 2 * size * sizeof(float), 0);
}

static void run_log_softmax(const sv_task *task, const sv_work *work) {
    const sv_functions *f = work->plan->functions;
    const sv_value *value = &work->plan->values[task->value];
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *exponentials = sv_room(work, task->scratch);
    size_t channels = value->shape[value->axes - 1], places = sv_frames(work, value->clock) * value->size / channels;
    for (size_t i = 0; i < places; i++, x += channels, y += channels) {
        float highest = x[0];
        for (size_t c = 1; c < channels; c++)
            highest = x[c] > highest ? x[c] : highest;
        f->affine(y, x, 1, -highest, channels);
        f->exp(exponentials, y, channels);
        f->affine(y, y, 1, -logf(f->sum(exponentials, channels)), channels);
    }
}

sv_status sv_log_softmax_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    task->run = run_log_softmax;
    task->room = SV_IN_PLACE;
    if (sv_same_shape(builder, task))
        return builder->failure->status;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, x->shape[x->axes - 1] * sizeof(float), 0);
}
