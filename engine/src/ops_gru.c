/* The GRU: as the LSTM, but what it hears of itself stays apart from what comes in, for one gate is between them. */
#include <math.h>
#include <string.h>

#include "operand.h"

typedef struct {
    const sv_matrix *given, *recurrent;
    const float *given_bias, *recurrent_bias; /* [3 size] */
    uint32_t size;
} gru;

static void run_gru(const sv_task *task, const sv_work *work) {
    const gru *own = task->own;
    const sv_functions *f = work->plan->functions;
    float *y = sv_data(work, task->value), *given = sv_room(work, task->scratch);
    float *hidden = work->states + task->state;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), size = own->size, count = 0;
    float *heard = given + SV_BLOCK * 3 * size, *now = given;
    sv_vector x[SV_BLOCK], before = {.codes = heard + 3 * size};
    sv_make_operand(task, work);
    for (size_t t = 0, known = 0; t < frames; t++, y += size, now += 3 * size) {
        if (t == known) {
            count = sv_rows(task, work, t, 0, x);
            sv_multiply(own->given, x, count, 1, 0, own->given_bias, 0, given, 0, 3 * size);
            known += count;
            now = given;
        }
        sv_quantize(&before, hidden, size, work->plan->machine);
        sv_multiply(own->recurrent, &before, 1, 1, 0, own->recurrent_bias, 0, heard, 0, 0);
        f->gru(now, heard, hidden, size);
        memcpy(y, hidden, size * sizeof *y);
        if (!isfinite(f->sum(hidden, size)))
            *work->sound = 0;
    }
}

sv_status sv_gru_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    uint32_t size = task->attributes->hidden;
    sv_machine machine = builder->plan->machine;
    gru *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own)
        return sv_no_memory(builder);
    if (x->axes != 1)
        return sv_misfit(builder, task, "expected channels, got values of %u axes", x->axes);
    own->size = size;
    task->own = own;
    task->run = run_gru;
    if (sv_shape(builder, task, 1, &size)
        || sv_take_layer(builder, machine, task, 0, 3 * size, x->shape[0], &own->given)
        || sv_take_layer(builder, machine, task, 1, 3 * size, size, &own->recurrent)
        || sv_floats(builder, task, 2, 3 * (size_t)size, &own->given_bias)
        || sv_floats(builder, task, 3, 3 * (size_t)size, &own->recurrent_bias)
        || sv_take_state(builder, &task->state, size)
        || sv_take_operand(
            builder, task,
            (sv_operand){.places = 1, .channels = x->shape[0], .taps = 1, .dilation = 1, .machine = machine}))
        return builder->failure->status;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1},
                           (SV_BLOCK + 1) * 3 * (size_t)size * sizeof(float) + sv_codes_bytes(size), 0);
}
