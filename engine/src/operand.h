/* What weights are multiplied with: the frames and places under a kernel, side by side, made once for all that read
 * it. So every convolution is a matrix over overlapping slices of one vector. */
#ifndef SV_OPERAND_H
#define SV_OPERAND_H

#include "ops.h"

/* The frames before this one: kept from block to block in a stream, there anyway where all frames come at once. */
typedef struct {
    uint32_t value, delay, after; /* reaches from `delay` frames before this one to `after` after it */
    size_t width, state;          /* floats of a frame; where the ring of `delay` frames begins */
    int kept;
} sv_past;

sv_status sv_take_past(sv_builder *builder, const sv_task *task, sv_past *past);

/* Frame `t` of this block less `delay`, or NULL for one outside the waveform. */
const float *sv_frame(const sv_past *past, const sv_work *work, size_t t, size_t delay);
void sv_remember(const sv_past *past, const sv_work *work, size_t t); /* instead of the oldest, of no use after t */

/* Row t is [front + places + back][taps][channels], zeros at both ends. Tap k is that of the frame
 * t + after - (taps - 1 - k) dilation. */
struct sv_operand {
    uint32_t places, channels, taps, dilation, front, back;
    sv_machine machine; /* in what precision it is multiplied */
    sv_past past;
    size_t count; /* floats of a row */
    size_t code_bytes, float_bytes, row_bytes;
    uint32_t buffer;
    const sv_task *maker;
};

/* The task's operand of its first input, shared with an earlier task if that has the same. `wanted` says all down to
 * `machine`, and past.after. */
sv_status sv_take_operand(sv_builder *builder, sv_task *task, sv_operand wanted);

void sv_make_operand(const sv_task *task, const sv_work *work); /* if the task is the one to do so */

/* Rows from t on, as many as there are but no more than SV_BLOCK, each from an element on; how many. */
size_t sv_rows(const sv_task *task, const sv_work *work, size_t t, size_t from, sv_vector *vectors);

/* How a layer of these weights is multiplied: where 8 bits are chosen, one of next to no weights, as at the two ends of
 * many a model, in 16 bits. That costs little, and what is rounded there is heard most. */
sv_machine sv_machine_of(const sv_builder *builder, const sv_task *task);

/* Packs a matrix of a tensor: see sv_weights. */
sv_status sv_take_matrix(sv_builder *builder, sv_machine machine, const sv_tensor *tensor, uint32_t rows,
                         uint32_t columns, const size_t *row_offsets, const size_t *column_offsets,
                         const sv_matrix **matrix);

/* Packs a tensor that is a matrix; it must have so many rows and columns. */
sv_status sv_take_layer(sv_builder *builder, sv_machine machine, const sv_task *task, uint32_t role, uint32_t rows,
                        uint32_t columns, const sv_matrix **matrix);

#endif
