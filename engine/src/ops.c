#include "ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
sv_prepare *const sv_preparations[SV_OPS] = {
    [SV_STFT] = sv_stft_task, [SV_ISTFT] = sv_istft_task, [SV_FRAMES] = sv_frames_task,
    [SV_OVERLAP_ADD] = sv_overlap_add_task, [SV_FBANK] = sv_fbank_task, [SV_MAGNITUDE] = sv_magnitude_task,
    [SV_POWER_LAW] = sv_power_law_task, [SV_RUNNING_RMS] = sv_running_rms_task, [SV_COMPLEX_MUL] = sv_complex_mul_task,
    [SV_ADD] = sv_binary_task, [SV_SUB] = sv_binary_task, [SV_MUL] = sv_binary_task, [SV_DIV] = sv_binary_task,
    [SV_AFFINE] = sv_affine_task, [SV_SCALE_SHIFT] = sv_scale_shift_task, [SV_LAYER_NORM] = sv_layer_norm_task,
    [SV_GLOBAL_NORM] = sv_global_norm_task, [SV_TIME_NORM] = sv_time_norm_task, [SV_QUANTIZE] = sv_quantize_task,
    [SV_QUANTIZE_DYNAMIC] = sv_quantize_dynamic_task, [SV_LOG1P] = sv_unary_task, [SV_RELU] = sv_unary_task,
    [SV_SIGMOID] = sv_unary_task, [SV_ELU] = sv_unary_task, [SV_TANH] = sv_unary_task,
    [SV_LOG_SOFTMAX] = sv_log_softmax_task, [SV_PRELU] = sv_prelu_task, [SV_CONCAT] = sv_concat_task,
    [SV_STACK] = sv_stack_task, [SV_SLICE] = sv_slice_task, [SV_TAKE] = sv_take_task,
    [SV_TRANSPOSE] = sv_transpose_task,
    [SV_FLATTEN] = sv_flatten_task, [SV_UNFLATTEN] = sv_unflatten_task, [SV_UNSQUEEZE] = sv_unsqueeze_task,
    [SV_TIME_MEAN] = sv_time_mean_task, [SV_REVERSE] = sv_reverse_task, [SV_FOLD] = sv_fold_task,
    [SV_LINEAR] = sv_linear_task, [SV_CONV1D] = sv_conv1d_task, [SV_CONV2D] = sv_conv2d_task,
    [SV_CONV_TRANSPOSE2D] = sv_conv_transpose2d_task, [SV_ATTENTION] = sv_attention_task, [SV_LSTM] = sv_lstm_task,
    [SV_GRU] = sv_gru_task,
};
/* clang-format on */

const sv_value *sv_input(const sv_builder *builder, const sv_task *task, uint32_t number) {
    return &builder->plan->values[task->inputs[number]];
}

sv_status sv_misfit(sv_builder *builder, const sv_task *task, const char *format, ...) {
    char text[SV_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return sv_fail(builder->failure, SV_BAD_FILE, "node %.60s (%s): %s", task->node->name, sv_op_names[task->node->op],
                   text);
}

sv_status sv_no_memory(sv_builder *builder) {
    return sv_fail(builder->failure, SV_NO_MEMORY, "no memory for the model");
}

int sv_same_clock(sv_clock a, sv_clock b) { return a.source == b.source && a.divide == b.divide; }

int sv_equal_shapes(const sv_value *a, const sv_value *b) {
    return a->axes == b->axes && !memcmp(a->shape, b->shape, a->axes * sizeof *a->shape);
}

sv_status sv_shape(sv_builder *builder, sv_task *task, uint32_t axes, const uint32_t *shape) {
    sv_value *value = &builder->plan->values[task->value];
    size_t size = 1;
    if (axes > SV_AXES)
        return sv_misfit(builder, task, "expected values of at most %d axes, got %u", SV_AXES, axes);
    for (uint32_t i = 0; i < axes; i++) {
        if (!shape[i])
            return sv_misfit(builder, task, "expected values of some size, got none on axis %u", i);
        if (size > SV_MOST_BYTES / sizeof(float) / shape[i])
            return sv_misfit(builder, task, "expected a frame of at most %zu bytes, got more", SV_MOST_BYTES);
        size *= shape[i];
        value->shape[i] = shape[i];
    }
    value->axes = axes;
    value->size = size;
    value->clock = sv_input(builder, task, 0)->clock;
    return SV_OK;
}

sv_status sv_same_shape(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    return sv_shape(builder, task, x->axes, x->shape);
}

sv_status sv_take_buffer(sv_builder *builder, uint32_t *buffer, sv_clock clock, size_t fixed, size_t per_frame) {
    sv_plan *plan = builder->plan;
    if (plan->buffer_count == builder->buffer_room) {
        size_t room = 2 * builder->buffer_room + 64;
        sv_buffer *grown = sv_take(builder->pool, room, sizeof *grown);
        if (!grown)
            return sv_no_memory(builder);
        if (plan->buffer_count)
            memcpy(grown, plan->buffers, plan->buffer_count * sizeof *grown);
        plan->buffers = grown;
        builder->buffer_room = room;
    }
    *buffer = plan->buffer_count++;
    plan->buffers[*buffer] = (sv_buffer){clock, fixed, per_frame, SV_NONE, 0};
    return SV_OK;
}

sv_status sv_take_scratch(sv_builder *builder, sv_task *task, sv_clock clock, size_t fixed, size_t per_frame) {
    return sv_take_buffer(builder, &task->scratch, clock, fixed, per_frame);
}

sv_status sv_take_state(sv_builder *builder, size_t *state, size_t floats) {
    sv_plan *plan = builder->plan;
    *state = plan->states;
    if (floats > SV_MOST_BYTES / sizeof(float) - plan->states)
        return sv_fail(builder->failure, SV_BAD_FILE, "model: expected states of at most %zu bytes, got more",
                       SV_MOST_BYTES);
    plan->states += floats;
    return SV_OK;
}

sv_status sv_floats(sv_builder *builder, const sv_task *task, uint32_t role, size_t count, const float **floats) {
    const sv_entry *entry = task->node->tensors[role];
    sv_tensor tensor;
    if (entry->elements != count)
        return sv_misfit(builder, task, "expected %zu elements of %.60s, got %zu", count, entry->name, entry->elements);
    float *taken = sv_take(builder->pool, count, sizeof *taken);
    if (!taken)
        return sv_no_memory(builder);
    if (sv_unpack(&tensor, entry, builder->failure))
        return builder->failure->status;
    for (size_t i = 0; i < count; i++)
        taken[i] = sv_element(&tensor, i);
    sv_forget(&tensor);
    builder->plan->weight_bytes += count * sizeof *taken;
    *floats = taken;
    return SV_OK;
}
