/* The LSTM: what comes in is known for all frames, what it hears of itself only step by step. */
#include <math.h>
#include <string.h>

#include "operand.h"

typedef struct {
    const sv_matrix *given, *recurrent;
    float *bias; /* [4 size], the sum of both */
    uint32_t size;
} lstm;

static void run_lstm(const sv_task *task, const sv_work *work) {
    const lstm *own = task->own;
    const sv_functions *f = work->plan->functions;
    float *y = sv_data(work, task->value), *gates = sv_room(work, task->scratch);
    float *hidden = work->states + task->state, *cell = hidden + own->size;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), size = own->size, count = 0;
    sv_vector x[SV_BLOCK], before = {.codes = gates + SV_BLOCK * 4 * size};
    float *now = gates;
    sv_make_operand(task, work);
    for (size_t t = 0, known = 0; t < frames; t++, y += size, now += 4 * size) {
        if (t == known) {
            count = sv_rows(task, work, t, 0, x);
            sv_multiply(own->given, x, count, 1, 0, own->bias, 0, gates, 0, 4 * size);
            known += count;
            now = gates;
        }
        sv_quantize(&before, hidden, size, work->plan->machine);
        sv_multiply(own->recurrent, &before, 1, 1, 0, NULL, 1, now, 0, 0);
        f->lstm(now, cell, hidden, size);
        memcpy(y, hidden, size * sizeof *y);
        if (!isfinite(f->sum(hidden, size)) || !isfinite(f->sum(cell, size)))
            *work->sound = 0;
    }
}

sv_status sv_lstm_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t size = task->attributes->hidden;
    sv_machine machine = builder->plan->machine;
    lstm *own = sv_take(builder->pool, 1, sizeof *own);
    const float *given, *recurrent;
    if (!own)
        return sv_no_memory(builder);
    if (x->axes != 1)
        return sv_misfit(builder, task, "expected channels, got values of %u axes", x->axes);
    own->size = size;
    task->own = own;
    task->run = run_lstm;
    if (sv_shape(builder, task, 1, &size)
        || sv_take_layer(builder, machine, task, 0, 4 * size, x->shape[0], &own->given)
        || sv_take_layer(builder, machine, task, 1, 4 * size, size, &own->recurrent)
        || sv_floats(builder, task, 2, 4 * (size_t)size, &given)
        || sv_floats(builder, task, 3, 4 * (size_t)size, &recurrent)
        || !(own->bias = sv_take(builder->pool, 4 * (size_t)size, sizeof *own->bias)))
        return builder->failure->status ? builder->failure->status : sv_no_memory(builder);
    for (size_t i = 0; i < 4 * (size_t)size; i++)
        own->bias[i] = given[i] + recurrent[i];
    if (sv_take_state(builder, &task->state, 2 * (size_t)size)
        || sv_take_operand(
            builder, task,
            (sv_operand){.places = 1, .channels = x->shape[0], .taps = 1, .dilation = 1, .machine = machine}))
        return builder->failure->status;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1},
                           SV_BLOCK * 4 * (size_t)size * sizeof(float) + sv_codes_bytes(size), 0);
}
