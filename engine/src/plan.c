#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "operand.h"
#include "ops.h"
#ifdef SV_PROFILE
#include <time.h>
#endif

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
};

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

/* What its stream begins and ends with, and its conditions; each input of the graph has the one reader that makes
 * frames of it. */
static sv_status find_ends(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    const sv_file *file = builder->file;
    const sv_node *first = NULL, *last = NULL;
    uint32_t begins = 0, ends = 0;
    plan->hops = sv_take(builder->pool, file->input_count, sizeof *plan->hops);
    plan->delays = sv_take(builder->pool, file->input_count, sizeof *plan->delays);
    uint32_t *readers = sv_take(builder->pool, file->input_count, sizeof *readers);
    if (!plan->hops || !plan->delays || !readers)
        return sv_no_memory(builder);
    for (uint32_t i = 0; i < file->node_count; i++) {
        const sv_node *node = &file->nodes[i];
        const sv_attributes *a = &node->attributes;
        int makes_frames = node->op == SV_STFT || node->op == SV_FRAMES, whole = a->hop && a->n_fft % a->hop == 0;
        int streamed = plan->values[file->input_count + i].streamed;
        for (uint32_t j = 0; j < node->input_count; j++) {
            uint32_t input = node->inputs[j];
            if (input >= file->input_count)
                continue;
            if (!(makes_frames && whole) && !(node->op == SV_FBANK && !input))
                return sv_fail(builder->failure, SV_BAD_FILE,
                               "node %.60s: expected an stft or frames of whole hops, or of "
                               "the first input an fbank, that reads %.60s, got %s", node->name, file->inputs[input],
                               sv_op_names[node->op]);
            readers[input]++;
            plan->hops[input] = a->hop;
            plan->delays[input] = node->op == SV_FBANK ? 0 : a->n_fft - a->hop;
        }
        if (streamed && (makes_frames || node->op == SV_FBANK)) {
            begins++;
            first = node;
        }
        if (streamed && (node->op == SV_ISTFT || node->op == SV_OVERLAP_ADD)) {
            ends++;
            last = node;
        }
    }
    for (uint32_t input = 0; input < file->input_count; input++)
        if (readers[input] != 1)
            return sv_fail(builder->failure, SV_BAD_FILE,
                           "model: expected one stft, frames or fbank that reads %.60s, got %u",
                           file->inputs[input], readers[input]);
    int features = begins == 1 && !ends && first->op == SV_FBANK;
    int fits = begins == 1 && ends == 1 && last == &file->nodes[file->output - file->input_count]
        && (first->op == SV_STFT ? last->op == SV_ISTFT : first->op == SV_FRAMES && last->op == SV_OVERLAP_ADD)
        && first->attributes.n_fft == last->attributes.n_fft && first->attributes.hop == last->attributes.hop
        && first->attributes.window == last->attributes.window;
    if (!features && !fits)
        return sv_fail(builder->failure, SV_BAD_FILE,
                       "model: expected one waveform in, one stft, one istft or one frames, one "
                       "overlap_add, and one waveform out, or one fbank and features out");
    plan->hop = first->attributes.hop;
    plan->past = features && plan->causal ? first->attributes.n_fft - plan->hop : 0;
    plan->delay = features ? plan->past / 2 : first->attributes.n_fft - plan->hop;
    plan->features = features;
    plan->block = plan->piece > SV_BLOCK ? plan->piece : plan->causal ? SV_BLOCK / plan->piece * plan->piece : 0;
    plan->most = plan->block + (features ? (plan->delay + plan->hop / 2) / plan->hop : 0);
    return SV_OK;
}

/* Whether a node sees frames that are still to come. */
static int waits(const sv_node *node) {
    switch (node->op) {
    case SV_GLOBAL_NORM: case SV_TIME_NORM: case SV_TIME_MEAN: case SV_REVERSE: case SV_QUANTIZE_DYNAMIC: case SV_FBANK:
    case SV_FOLD: case SV_ATTENTION:
        return 1;
    default:
        return node->op == SV_CONV1D && node->attributes.after;
    }
}

/* Whether one that does gives all frames of a piece of the right size as soon as that is there. */
static int goes_by_pieces(const sv_node *node) {
    const sv_attributes *a = &node->attributes;
    return node->op == SV_FOLD || (node->op == SV_ATTENTION && a->chunk)
        || (node->op == SV_FBANK && a->n_fft % 2 == 0 && a->hop % 2 == 0 && a->n_fft >= a->hop);
}

static uint64_t common_multiple(uint64_t a, uint64_t b) {
    uint64_t x = a, y = b;
    while (y) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* How many frames of the first input go together in a stream, as docs/format.md has it; 0: all there are. */
static sv_status find_piece(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    const sv_file *file = builder->file;
    uint64_t piece = 1, *folded = sv_take(builder->pool, plan->value_count, sizeof *folded);
    int waiting = 0, features = 0, fits = 1;
    if (!folded)
        return sv_no_memory(builder);
    for (uint32_t i = 0; i < plan->value_count; i++)
        folded[i] = 1;
    for (uint32_t i = 0; fits && i < file->node_count; i++) {
        const sv_node *node = &file->nodes[i];
        uint64_t *every = &folded[file->input_count + i];
        if (!plan->values[file->input_count + i].streamed)
            continue;
        for (uint32_t j = 0; j < node->input_count; j++)
            *every = folded[node->inputs[j]] > *every ? folded[node->inputs[j]] : *every;
        *every *= node->op == SV_FOLD ? node->attributes.size : 1;
        piece = common_multiple(piece, *every * (node->op == SV_ATTENTION && node->attributes.chunk
                                                 ? node->attributes.chunk : 1));
        waiting |= waits(node);
        features |= node->op == SV_FBANK;
        fits = piece <= SV_MOST_FRAMES && (!waits(node) || goes_by_pieces(node));
    }
    plan->causal = fits && (features || !waiting);
    plan->piece = plan->causal ? (uint32_t)piece : 0;
    return SV_OK;
}

/* Tasks in order: what depends on conditions alone, then the stream. */
static void put_in_order(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    const sv_file *file = builder->file;
    for (uint32_t i = 0; i < file->node_count; i++)
        for (uint32_t j = 0; j < file->nodes[i].input_count; j++)
            plan->values[file->input_count + i].streamed |= plan->values[file->nodes[i].inputs[j]].streamed;
    for (int streamed = 0; streamed < 2; streamed++) {
        for (uint32_t i = 0; i < file->node_count; i++) {
            sv_value *value = &plan->values[file->input_count + i];
            if (value->streamed != streamed)
                continue;
            sv_task *task = &plan->tasks[plan->task_count];
            *task = (sv_task){.node = &file->nodes[i], .attributes = &file->nodes[i].attributes, .scratch = SV_NONE,
                              .inputs = file->nodes[i].inputs, .input_count = file->nodes[i].input_count,
                              .value = file->input_count + i, .streamed = streamed};
            for (uint32_t j = 0; j < file->nodes[i].input_count; j++)
                plan->values[file->nodes[i].inputs[j]].readers++;
            value->task = plan->task_count++;
        }
        if (!streamed)
            plan->first_streamed = plan->task_count;
    }
}

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

/* Buffers for the values: a view is where its input is, and so is a value made in place. */
static sv_status give_buffers(sv_builder *builder) {
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
            continue;                    /* another task does its work, and nobody reads it */
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
    size_t end = 0, *by_place = offsets + plan->buffer_count;          /* the buffers so far, lowest first */
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

#ifdef SV_PROFILE
static double least[4096];               /* us that a task took when nothing came between */

static double now(void) {
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static void measure(const sv_task *task, const sv_work *work, uint32_t number) {
    double began = now();
    task->run(task, work);
    double took = now() - began;
    if (number < 4096 && (least[number] == 0 || took < least[number]))
        least[number] = took;
}

void sv_print_profile(const sv_plan *plan) {
    double of_op[SV_OPS] = {0};
    for (uint32_t i = 0; i < plan->task_count && i < 4096; i++)
        of_op[plan->tasks[i].node->op] += least[i];
    for (int op = 0; op < SV_OPS; op++)
        if (of_op[op] > 0)
            printf("%18s %8.2f us\n", sv_op_names[op], of_op[op]);
}
#endif

void sv_run_tasks(const sv_plan *plan, const sv_work *work, uint32_t first, uint32_t last) {
    for (uint32_t i = first; i < last; i++) {
        const sv_task *task = &plan->tasks[i];
        if (!task->run)
            continue;
#ifdef SV_PROFILE
        measure(task, work, i);
#else
        task->run(task, work);
#endif
    }
}

sv_status sv_make_plan(sv_plan *plan, const sv_file *file, sv_machine machine, sv_pool *pool, sv_failure *failure) {
    sv_builder builder = {.plan = plan, .file = file, .pool = pool, .failure = failure};
    *plan = (sv_plan){.machine = machine, .functions = sv_functions_for(machine), .input_count = file->input_count,
                      .value_count = file->input_count + file->node_count, .output = file->output};
    plan->values = sv_take(pool, plan->value_count, sizeof *plan->values);
    plan->tasks = sv_take(pool, file->node_count, sizeof *plan->tasks);
    builder.operands = sv_take(pool, plan->value_count, sizeof *builder.operands);
    if (!plan->values || !plan->tasks || !builder.operands)
        return sv_no_memory(&builder);
    if (!file->sample_rate || !file->input_count || file->output < file->input_count)
        return sv_fail(failure, SV_BAD_FILE, "model: expected a sample_rate, an input and an output, got %u Hz and %u "
                       "inputs", file->sample_rate, file->input_count);
    for (uint32_t i = 0; i < file->input_count; i++)
        plan->values[i] = (sv_value){.clock = {i, 1}, .waveform = 1, .streamed = !i, .task = SV_NONE};
    put_in_order(&builder);
    if (find_piece(&builder) || find_ends(&builder))
        return failure->status;
    for (uint32_t i = 0; i < plan->task_count; i++) {
        sv_task *task = &plan->tasks[i];
        int makes_frames = task->node->op == SV_STFT || task->node->op == SV_FRAMES || task->node->op == SV_FBANK;
        for (uint32_t j = 0; j < task->input_count; j++)
            if (makes_frames != (task->inputs[j] < file->input_count)
                || makes_frames != sv_input(&builder, task, j)->waveform)
                return sv_misfit(&builder, task, makes_frames ? "expected an input of the graph"
                                 : "expected frames, got a waveform");
        if (sv_preparations[task->node->op](&builder, task))
            return failure->status;
    }
    sv_value *output = &plan->values[plan->output];
    if (!output->streamed || output->waveform == (plan->features != 0))
        return sv_fail(failure, SV_BAD_FILE, "model: expected an output made of the first input");
    if (!plan->features && !sv_same_clock(output->clock, (sv_clock){0, 1}))
        return sv_fail(failure, SV_BAD_FILE, "model: expected as many frames out as in");
    plan->features = plan->features ? (uint32_t)output->size : 0;
    return give_buffers(&builder);
}
