/* How a node of the file becomes a task: each operation checks its shapes, packs its constants and says how to run. */
#ifndef SV_OPS_H
#define SV_OPS_H

#include "plan.h"

/* A plan in the making. */
typedef struct {
    sv_plan *plan;
    const sv_file *file;
    sv_pool *pool;
    sv_failure *failure;
    size_t buffer_room;
    sv_operand **operands; /* the last one made of each value */
    sv_found found;        /* room that every matrix uses: freed once, it leaves no holes among what stays */
} sv_builder;

/* Checks a node against its inputs, gives its value a shape, and fills in how it runs. */
typedef sv_status sv_prepare(sv_builder *builder, sv_task *task);

extern sv_prepare *const sv_preparations[SV_OPS];

sv_prepare sv_stft_task, sv_istft_task, sv_frames_task, sv_overlap_add_task, sv_fbank_task;
sv_prepare sv_magnitude_task, sv_power_law_task, sv_running_rms_task, sv_complex_mul_task;
sv_prepare sv_binary_task, sv_unary_task, sv_affine_task, sv_scale_shift_task, sv_prelu_task;
sv_prepare sv_quantize_task, sv_quantize_dynamic_task;
sv_prepare sv_layer_norm_task, sv_global_norm_task, sv_time_norm_task, sv_time_mean_task, sv_log_softmax_task;
sv_prepare sv_concat_task, sv_stack_task, sv_slice_task, sv_take_task, sv_transpose_task, sv_flatten_task;
sv_prepare sv_unflatten_task, sv_unsqueeze_task, sv_reverse_task, sv_fold_task;
sv_prepare sv_linear_task, sv_conv1d_task, sv_conv2d_task, sv_conv_transpose2d_task, sv_attention_task, sv_lstm_task;
sv_prepare sv_gru_task;

/* The task's input of that number. */
const sv_value *sv_input(const sv_builder *builder, const sv_task *task, uint32_t number);

/* Fails with SV_BAD_FILE, the node's name and what it wanted. */
sv_status sv_misfit(sv_builder *builder, const sv_task *task, const char *format, ...);
sv_status sv_no_memory(sv_builder *builder);

/* Gives the task's value a shape, with the frames of its first input. */
sv_status sv_shape(sv_builder *builder, sv_task *task, uint32_t axes, const uint32_t *shape);
sv_status sv_same_shape(sv_builder *builder, sv_task *task);
int sv_same_clock(sv_clock a, sv_clock b);
int sv_equal_shapes(const sv_value *a, const sv_value *b);

/* A buffer of so many bytes, and so many for each frame, while the task runs. */
sv_status sv_take_scratch(sv_builder *builder, sv_task *task, sv_clock clock, size_t fixed, size_t per_frame);
sv_status sv_take_buffer(sv_builder *builder, uint32_t *buffer, sv_clock clock, size_t fixed, size_t per_frame);

/* Where so many floats begin among the states. */
sv_status sv_take_state(sv_builder *builder, size_t *state, size_t floats);

/* A tensor as floats, in the order of the file; it must have so many. */
sv_status sv_floats(sv_builder *builder, const sv_task *task, uint32_t role, size_t count, const float **floats);

#endif
