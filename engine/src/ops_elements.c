/* What is done to every element on its own. */
#include <math.h>

#include "ops.h"

static size_t elements(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    return sv_frames(work, value->clock) * value->size;
}

static void run_unary(const sv_task *task, const sv_work *work) {
    const sv_functions *f = work->plan->functions;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value);
    size_t count = elements(task, work);
    switch (task->node->op) {
    case SV_SIGMOID:
        f->sigmoid(y, x, count);
        break;
    case SV_TANH:
        f->tanh(y, x, count);
        break;
    case SV_ELU:
        f->elu(y, x, count);
        break;
    case SV_LOG1P:
        f->log1p(y, x, count);
        break;
    default:
        for (size_t i = 0; i < count; i++)
            y[i] = x[i] < 0 ? 0 : x[i];
    }
}

sv_status sv_unary_task(sv_builder *builder, sv_task *task) {
    task->run = run_unary;
    task->room = SV_IN_PLACE;
    return sv_same_shape(builder, task);
}

static void run_affine(const sv_task *task, const sv_work *work) {
    work->plan->functions->affine(sv_data(work, task->value), sv_data(work, task->inputs[0]),
                                  (float)task->attributes->scale, (float)task->attributes->shift, elements(task, work));
}

sv_status sv_affine_task(sv_builder *builder, sv_task *task) {
    task->run = run_affine;
    task->room = SV_IN_PLACE;
    return sv_same_shape(builder, task);
}

/* The channels of the first input, its last axis; 0 where it has none. */
static uint32_t channels_of(const sv_builder *builder, const sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    return x->axes ? x->shape[x->axes - 1] : 0;
}

typedef struct {
    const float *scale, *shift;
    uint32_t channels;
} by_channel;

static void run_scale_shift(const sv_task *task, const sv_work *work) {
    const by_channel *own = task->own;
    work->plan->functions->channels(sv_data(work, task->value), sv_data(work, task->inputs[0]), own->scale, own->shift,
                                    own->channels, elements(task, work) / own->channels);
}

sv_status sv_scale_shift_task(sv_builder *builder, sv_task *task) {
    by_channel *own = sv_take(builder->pool, 1, sizeof *own);
    uint32_t channels = channels_of(builder, task);
    if (!own)
        return sv_no_memory(builder);
    own->channels = channels;
    task->own = own;
    task->run = run_scale_shift;
    task->room = SV_IN_PLACE;
    if (sv_floats(builder, task, 0, channels, &own->scale) || sv_floats(builder, task, 1, channels, &own->shift))
        return builder->failure->status;
    return sv_same_shape(builder, task);
}

static void run_prelu(const sv_task *task, const sv_work *work) {
    const by_channel *own = task->own;
    work->plan->functions->prelu(sv_data(work, task->value), sv_data(work, task->inputs[0]), own->scale, own->channels,
                                 elements(task, work) / own->channels);
}

sv_status sv_prelu_task(sv_builder *builder, sv_task *task) {
    by_channel *own = sv_take(builder->pool, 1, sizeof *own);
    uint32_t channels = task->node->tensors[0]->elements == 1 ? 1 : channels_of(builder, task);
    if (!own)
        return sv_no_memory(builder);
    own->channels = channels;
    task->own = own;
    task->run = run_prelu;
    task->room = SV_IN_PLACE;
    return sv_floats(builder, task, 0, channels, &own->scale) ? builder->failure->status : sv_same_shape(builder, task);
}

/* The nearest of 2^bits values from low to high. */
static void round_all(float *y, const float *x, size_t count, float low, float high, uint32_t bits) {
    float step = (high - low) / (float)((1u << bits) - 1);
    if (step < 1.17549435e-38f)
        step = 1.17549435e-38f;
    for (size_t i = 0; i < count; i++)
        y[i] = rintf((x[i] - low) / step) * step + low;
}

static void run_quantize(const sv_task *task, const sv_work *work) {
    const sv_attributes *a = task->attributes;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), low = (float)a->low, high = (float)a->high;
    size_t count = elements(task, work);
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] < low ? low : x[i] > high ? high : x[i];
    round_all(y, y, count, low, high, a->bits);
}

static void run_quantize_dynamic(const sv_task *task, const sv_work *work) {
    const float *x = sv_data(work, task->inputs[0]);
    size_t count = elements(task, work);
    float low = count ? x[0] : 0, high = low;
    for (size_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    round_all(sv_data(work, task->value), x, count, low, high, task->attributes->bits);
}

sv_status sv_quantize_task(sv_builder *builder, sv_task *task) {
    task->run = run_quantize;
    task->room = SV_IN_PLACE;
    return sv_same_shape(builder, task);
}

sv_status sv_quantize_dynamic_task(sv_builder *builder, sv_task *task) {
    task->run = run_quantize_dynamic;
    task->room = SV_IN_PLACE;
    return sv_same_shape(builder, task);
}
