#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "operand.h"

sv_status sv_take_past(sv_builder *builder, const sv_task *task, sv_past *past) {
    const sv_value *x = sv_input(builder, task, 0);
    past->value = task->inputs[0];
    past->width = x->size;
    past->kept = task->streamed && builder->plan->causal && past->delay;
    if (past->kept && past->delay > SV_MOST_BYTES / sizeof(float) / past->width)
        return sv_misfit(builder, task, "expected a past of at most %zu bytes, got more", SV_MOST_BYTES);
    return past->kept ? sv_take_state(builder, &past->state, past->delay * past->width) : SV_OK;
}

const float *sv_frame(const sv_past *past, const sv_work *work, size_t t, size_t delay) {
    const float *x = sv_data(work, past->value);
    if (!delay || (!past->kept && delay <= t))
        return x + (t - delay) * past->width;
    if (!past->kept)
        return NULL;
    uint64_t position = sv_position(work, work->plan->values[past->value].clock);
    size_t at = (size_t)((position + t + past->delay - delay) % past->delay);
    return work->states + past->state + at * past->width;
}

void sv_remember(const sv_past *past, const sv_work *work, size_t t) {
    if (!past->kept)
        return;
    const float *x = sv_data(work, past->value) + t * past->width;
    size_t at = (size_t)((sv_position(work, work->plan->values[past->value].clock) + t) % past->delay);
    memcpy(work->states + past->state + at * past->width, x, past->width * sizeof *x);
    if (!isfinite(work->plan->functions->sum(x, past->width)))
        *work->sound = 0;
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

sv_status sv_take_operand(sv_builder *builder, sv_task *task, sv_operand wanted) {
    const sv_value *x = sv_input(builder, task, 0);
    sv_operand *before = builder->operands[task->inputs[0]], *operand;
    if (before && before->places == wanted.places && before->channels == wanted.channels && before->taps == wanted.taps
        && before->dilation == wanted.dilation && before->front == wanted.front && before->back == wanted.back
        && before->machine.precision == wanted.machine.precision && before->past.after == wanted.past.after) {
        task->operand = before;
        return SV_OK;
    }
    if (!(operand = sv_take(builder->pool, 1, sizeof *operand)))
        return sv_no_memory(builder);
    *operand = wanted;
    uint64_t places = (uint64_t)wanted.front + wanted.places + wanted.back,
             width = (uint64_t)wanted.taps * wanted.channels;
    if (width > UINT32_MAX || places > SV_MOST_BYTES / sizeof(float) / width)
        return sv_misfit(builder, task, "expected at most %zu bytes under its kernels, got more", SV_MOST_BYTES);
    operand->count = (size_t)(places * width);
    operand->past.delay = (wanted.taps - 1) * wanted.dilation - wanted.past.after;
    if (sv_take_past(builder, task, &operand->past))
        return builder->failure->status;
    int as_it_is = wanted.taps == 1 && !wanted.front && !wanted.back;
    operand->float_bytes = as_it_is ? 0 : aligned(operand->count * sizeof(float));
    operand->code_bytes = wanted.machine.precision == SV_FLOAT32 ? 0 : aligned(sv_codes_bytes(operand->count));
    operand->row_bytes = operand->float_bytes + operand->code_bytes + aligned(sizeof(sv_vector));
    operand->maker = task;
    task->operand = builder->operands[task->inputs[0]] = operand;
    return sv_take_buffer(builder, &operand->buffer, x->clock, 0, operand->row_bytes);
}

/* Puts frames side by side, place by place. */
static void gather(const sv_operand *operand, const sv_work *work, size_t t, size_t frames, float *row) {
    size_t channels = operand->channels, width = operand->taps * channels;
    for (uint32_t tap = 0; tap < operand->taps; tap++) {
        size_t back = (size_t)(operand->taps - 1 - tap) * operand->dilation, after = operand->past.after;
        const float *frame = NULL;
        if (back >= after)
            frame = sv_frame(&operand->past, work, t, back - after);
        else if (after - back < frames - t)
            frame = sv_frame(&operand->past, work, t + (after - back), 0);
        float *to = row + operand->front * width + tap * channels;
        if (operand->taps == 1 && frame)
            memcpy(to, frame, operand->places * channels * sizeof *to);
        else
            for (uint32_t place = 0; place < operand->places; place++, to += width) {
                if (frame)
                    memcpy(to, frame + place * channels, channels * sizeof *to);
                else
                    memset(to, 0, channels * sizeof *to);
            }
    }
    memset(row, 0, operand->front * width * sizeof *row);
    memset(row + (operand->front + operand->places) * width, 0, operand->back * width * sizeof *row);
}

void sv_make_operand(const sv_task *task, const sv_work *work) {
    const sv_operand *operand = task->operand;
    if (operand->maker != task)
        return;
    const sv_value *value = &work->plan->values[operand->past.value];
    size_t frames = sv_frames(work, value->clock);
    for (size_t t = 0; t < frames; t++) {
        char *row = (char *)sv_room(work, operand->buffer) + t * operand->row_bytes;
        sv_vector *vector = (sv_vector *)(void *)(row + operand->float_bytes + operand->code_bytes);
        const float *floats
            = operand->float_bytes ? (float *)(void *)row : sv_data(work, operand->past.value) + t * value->size;
        if (operand->float_bytes)
            gather(operand, work, t, frames, (float *)(void *)row);
        sv_remember(&operand->past, work, t);
        vector->codes = row + operand->float_bytes;
        sv_quantize(vector, floats, operand->count, operand->machine);
    }
}

size_t sv_rows(const sv_task *task, const sv_work *work, size_t t, size_t from, sv_vector *vectors) {
    const sv_operand *operand = task->operand;
    size_t left = sv_frames(work, work->plan->values[operand->past.value].clock) - t, i;
    char *row = (char *)sv_room(work, operand->buffer) + t * operand->row_bytes;
    for (i = 0; i < left && i < SV_BLOCK; i++, row += operand->row_bytes) {
        vectors[i] = *(sv_vector *)(void *)(row + operand->float_bytes + operand->code_bytes);
        vectors[i].floats += from;
        vectors[i].codes = (char *)vectors[i].codes + (operand->machine.precision == SV_INT16 ? 2 : 1) * from;
        vectors[i].count -= from;
    }
    return i;
}

#define FEW 512 /* weights */

sv_machine sv_machine_of(const sv_builder *builder, const sv_task *task) {
    sv_machine machine = builder->plan->machine;
    if (machine.precision == SV_INT8 && task->node->tensors[0]->elements <= FEW)
        machine.precision = SV_INT16;
    return machine;
}

sv_status sv_take_matrix(sv_builder *builder, sv_machine machine, const sv_tensor *tensor, uint32_t rows,
                         uint32_t columns, const size_t *row_offsets, const size_t *column_offsets,
                         const sv_matrix **matrix) {
    sv_weights weights = {tensor, rows, columns, row_offsets, column_offsets};
    size_t before = builder->pool->bytes;
    if (sv_pack(matrix, &weights, machine, builder->pool, builder->failure))
        return builder->failure->status;
    builder->plan->weight_bytes += builder->pool->bytes - before;
    return SV_OK;
}

sv_status sv_take_layer(sv_builder *builder, sv_machine machine, const sv_task *task, uint32_t role, uint32_t rows,
                        uint32_t columns, const sv_matrix **matrix) {
    const sv_entry *entry = task->node->tensors[role];
    sv_tensor tensor;
    if (entry->axes != 2 || entry->shape[0] != rows || entry->shape[1] != columns)
        return sv_misfit(builder, task, "expected %.60s of %u rows and %u columns", entry->name, rows, columns);
    if (columns > SV_MOST_FOUND ? sv_unpack(&tensor, entry, builder->failure)
                                : sv_unpack_sparsely(&tensor, entry, &builder->found, builder->failure))
        return builder->failure->status;
    sv_take_matrix(builder, machine, &tensor, rows, columns, NULL, NULL, matrix);
    sv_forget(&tensor);
    return builder->failure->status;
}
