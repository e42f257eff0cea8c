/* The LSTM and the GRU: what comes in is known for all frames, what a layer hears of itself only step by step. */
#include <math.h>
#include <string.h>

#include "operand.h"

typedef struct {
    const sv_matrix *given, *recurrent;
    const float *given_bias, *recurrent_bias; /* [width] */
    size_t size, width;                       /* units; sums of all their gates */
} layer;

/* What comes in of frame t, [width], made for a block of frames at once. */
static float *given_at(const sv_task *task, const sv_work *work, size_t t) {
    const layer *own = task->own;
    float *given = sv_room(work, task->scratch);
    if (t % SV_BLOCK == 0) {
        sv_vector x[SV_BLOCK];
        size_t count = sv_rows(task, work, t, 0, x);
        sv_multiply(own->given, x, count, 1, 0, own->given_bias, 0, given, 0, own->width);
    }
    return given + t % SV_BLOCK * own->width;
}

/* The products of the hidden values, added to y [width] or put there with their bias. */
static void hear(const sv_task *task, const sv_work *work, const float *hidden, const float *bias, int add, float *y) {
    const layer *own = task->own;
    sv_vector before = {.codes = (float *)sv_room(work, task->scratch) + (SV_BLOCK + 1) * own->width};
    sv_quantize(&before, hidden, own->size, work->plan->machine);
    sv_multiply(own->recurrent, &before, 1, 1, 0, bias, add, y, 0, 0);
}

static void run_lstm(const sv_task *task, const sv_work *work) {
    const layer *own = task->own;
    const sv_functions *f = work->plan->functions;
    float *y = sv_data(work, task->value), *hidden = work->states + task->state, *cell = hidden + own->size;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), size = own->size;
    sv_make_operand(task, work);
    for (size_t t = 0; t < frames; t++, y += size) {
        float *gates = given_at(task, work, t);
        hear(task, work, hidden, NULL, 1, gates);
        f->lstm(gates, cell, hidden, size);
        memcpy(y, hidden, size * sizeof *y);
        if (!isfinite(f->sum(hidden, size)) || !isfinite(f->sum(cell, size)))
            *work->sound = 0;
    }
}

/* What a GRU hears of itself stays apart from what comes in, for one gate is between them. */
static void run_gru(const sv_task *task, const sv_work *work) {
    const layer *own = task->own;
    const sv_functions *f = work->plan->functions;
    float *y = sv_data(work, task->value), *hidden = work->states + task->state;
    float *heard = (float *)sv_room(work, task->scratch) + SV_BLOCK * own->width;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), size = own->size;
    sv_make_operand(task, work);
    for (size_t t = 0; t < frames; t++, y += size) {
        const float *given = given_at(task, work, t);
        hear(task, work, hidden, own->recurrent_bias, 0, heard);
        f->gru(given, heard, hidden, size);
        memcpy(y, hidden, size * sizeof *y);
        if (!isfinite(f->sum(hidden, size)))
            *work->sound = 0;
    }
}

/* A layer of so many gates that keeps so many values of each unit; NULL: `builder` says why. */
static layer *take(sv_builder *builder, sv_task *task, uint32_t gates, size_t kept) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t size = task->attributes->hidden, width = gates * size;
    sv_machine machine = builder->plan->machine;
    layer *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own)
        return sv_no_memory(builder), NULL;
    if (x->axes != 1)
        return sv_misfit(builder, task, "expected channels, got values of %u axes", x->axes), NULL;
    sv_operand operand = {.places = 1, .channels = x->shape[0], .taps = 1, .dilation = 1, .machine = machine};
    /* What comes in of a block of frames, what a GRU hears of itself, and the codes of its hidden values. */
    size_t scratch = (SV_BLOCK + 1) * (size_t)width * sizeof(float) + sv_codes_bytes(size);
    own->size = size;
    own->width = width;
    task->own = own;
    if (sv_shape(builder, task, 1, &size) || sv_take_layer(builder, machine, task, 0, width, x->shape[0], &own->given)
        || sv_take_layer(builder, machine, task, 1, width, size, &own->recurrent)
        || sv_floats(builder, task, 2, width, &own->given_bias)
        || sv_floats(builder, task, 3, width, &own->recurrent_bias) || sv_take_state(builder, &task->state, kept * size)
        || sv_take_operand(builder, task, operand)
        || sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, scratch, 0))
        return NULL;
    return own;
}

sv_status sv_lstm_task(sv_builder *builder, sv_task *task) {
    layer *own = take(builder, task, 4, 2);
    if (!own)
        return builder->failure->status;
    float *sum = sv_take(builder->pool, own->width, sizeof *sum); /* of both biases: they come in together */
    if (!sum)
        return sv_no_memory(builder);
    for (size_t i = 0; i < own->width; i++)
        sum[i] = own->given_bias[i] + own->recurrent_bias[i];
    own->given_bias = sum;
    task->run = run_lstm;
    return SV_OK;
}

sv_status sv_gru_task(sv_builder *builder, sv_task *task) {
    task->run = run_gru;
    return take(builder, task, 3, 1) ? SV_OK : builder->failure->status;
}
