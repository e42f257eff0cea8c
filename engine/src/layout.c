#include "layout.h"

#include "operand.h"

static void use(sv_plan *plan, uint32_t buffer, uint32_t task) {
    sv_buffer *used = &plan->buffers[buffer];
    if (used->first == SV_NONE || task < used->first)
        used->first = task;
    if (task > used->last)
        used->last = task;
}

/* The last task that reads each value; SV_NONE of what is needed after all of them. */
static uint32_t *last_reads(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    uint32_t *last = sv_take(builder->pool, plan->value_count, sizeof *last);
    for (uint32_t i = 0; last && i < plan->task_count; i++) {
        const sv_task *task = &plan->tasks[i];
        for (uint32_t j = 0; (task->run || task->room == SV_VIEW) && j < task->input_count; j++)
            last[task->inputs[j]] = i;
    }
    for (uint32_t i = 0; last && i < plan->value_count; i++) {
        int kept = i < plan->input_count || i == plan->output
            || (!plan->values[i].streamed && last[i] >= plan->first_streamed);
        if (kept)
            last[i] = SV_NONE;
    }
    return last;
}

sv_status sv_give_buffers(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    uint32_t *last = last_reads(builder);
    if (!last)
        return sv_no_memory(builder);
    for (uint32_t i = 0; i < plan->input_count; i++) {
        sv_value *value = &plan->values[i];
        value->size = plan->hops[i];
        if (sv_take_buffer(builder, &value->buffer, (sv_clock){i, 1},
                           (value->size + (i ? 0 : plan->past)) * sizeof(float), value->size * sizeof(float)))
            return builder->failure->status;
        plan->buffers[value->buffer].first = 0;
        plan->buffers[value->buffer].last = SV_NONE;
    }
    for (uint32_t i = 0; i < plan->task_count; i++) {
        sv_task *task = &plan->tasks[i];
        sv_value *value = &plan->values[task->value];
        const sv_value *x = sv_input(builder, task, 0);
        int place = task->room == SV_IN_PLACE && plan->buffers[x->buffer].last == i && value->size == x->size
            && sv_same_clock(value->clock, x->clock);
        if (!task->run && task->room != SV_VIEW)
            continue; /* another task does its work, and nobody reads it */
        if (task->room == SV_VIEW || place)
            value->buffer = x->buffer;
        else if (sv_take_buffer(builder, &value->buffer, value->clock, 0, value->size * sizeof(float)))
            return builder->failure->status;
        use(plan, value->buffer, i);
        if (last[task->value] > plan->buffers[value->buffer].last)
            plan->buffers[value->buffer].last = last[task->value];
        if (task->scratch != SV_NONE)
            use(plan, task->scratch, i);
        if (task->operand)
            use(plan, task->operand->buffer, i);
    }
    return SV_OK;
}

static size_t bytes_of(const sv_buffer *buffer, const size_t *frames) {
    size_t count = buffer->clock.source == SV_ALONE ? 1 : frames[buffer->clock.source] / buffer->clock.divide;
    if (buffer->per_frame && count > (SIZE_MAX / 4 - buffer->fixed) / buffer->per_frame)
        return SIZE_MAX;
    size_t bytes = buffer->fixed + buffer->per_frame * count;
    return bytes > SIZE_MAX / 4 ? SIZE_MAX : (bytes + 63) / 64 * 64;
}

size_t sv_lay_out(const sv_plan *plan, const size_t *frames, size_t *offsets) {
    size_t end = 0, *by_place = offsets + plan->buffer_count; /* the buffers so far, lowest first */
    for (uint32_t i = 0; i < plan->buffer_count; i++) {
        const sv_buffer *buffer = &plan->buffers[i];
        size_t bytes = bytes_of(buffer, frames), place = 0, before = i;
        /* The lowest place that is free all the while. */
        for (uint32_t j = 0; j < i; j++) {
            const sv_buffer *other = &plan->buffers[by_place[j]];
            size_t at = offsets[by_place[j]], after = at + bytes_of(other, frames);
            if (buffer->first > other->last || other->first > buffer->last || after <= place)
                continue;
            if (at >= place && at - place >= bytes)
                break;
            place = after;
        }
        if (bytes > SIZE_MAX / 4 || place > SIZE_MAX / 4)
            return SIZE_MAX;
        offsets[i] = place;
        end = place + bytes > end ? place + bytes : end;
        for (; before && offsets[by_place[before - 1]] > place; before--)
            by_place[before] = by_place[before - 1];
        by_place[before] = i;
    }
    return end;
}
