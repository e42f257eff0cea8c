/* How the nodes of a file become a plan: their order, the pieces in which they stream, and their tasks. */
#include <stdlib.h>

#include "layout.h"
#ifdef SV_PROFILE
#include <stdio.h>
#include <time.h>
#endif

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
                               "the first input an fbank, that reads %.60s, got %s",
                               node->name, file->inputs[input], sv_op_names[node->op]);
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
                           "model: expected one stft, frames or fbank that reads %.60s, got %u", file->inputs[input],
                           readers[input]);
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
    case SV_GLOBAL_NORM:
    case SV_TIME_NORM:
    case SV_TIME_MEAN:
    case SV_REVERSE:
    case SV_QUANTIZE_DYNAMIC:
    case SV_FBANK:
    case SV_FOLD:
    case SV_ATTENTION:
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
        piece = common_multiple(
            piece, *every * (node->op == SV_ATTENTION && node->attributes.chunk ? node->attributes.chunk : 1));
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
            *task = (sv_task){.node = &file->nodes[i],
                              .attributes = &file->nodes[i].attributes,
                              .scratch = SV_NONE,
                              .inputs = file->nodes[i].inputs,
                              .input_count = file->nodes[i].input_count,
                              .value = file->input_count + i,
                              .streamed = streamed};
            for (uint32_t j = 0; j < file->nodes[i].input_count; j++)
                plan->values[file->nodes[i].inputs[j]].readers++;
            value->task = plan->task_count++;
        }
        if (!streamed)
            plan->first_streamed = plan->task_count;
    }
}

#ifdef SV_PROFILE
static double least[4096]; /* us that a task took when nothing came between */

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

static sv_status make_tasks(sv_builder *builder) {
    sv_plan *plan = builder->plan;
    const sv_file *file = builder->file;
    sv_failure *failure = builder->failure;
    plan->values = sv_take(builder->pool, plan->value_count, sizeof *plan->values);
    plan->tasks = sv_take(builder->pool, file->node_count, sizeof *plan->tasks);
    builder->operands = sv_take(builder->pool, plan->value_count, sizeof *builder->operands);
    if (!plan->values || !plan->tasks || !builder->operands)
        return sv_no_memory(builder);
    if (!file->sample_rate || !file->input_count || file->output < file->input_count)
        return sv_fail(failure, SV_BAD_FILE,
                       "model: expected a sample_rate, an input and an output, got %u Hz and %u "
                       "inputs",
                       file->sample_rate, file->input_count);
    for (uint32_t i = 0; i < file->input_count; i++)
        plan->values[i] = (sv_value){.clock = {i, 1}, .waveform = 1, .streamed = !i, .task = SV_NONE};
    put_in_order(builder);
    if (find_piece(builder) || find_ends(builder))
        return failure->status;
    for (uint32_t i = 0; i < plan->task_count; i++) {
        sv_task *task = &plan->tasks[i];
        int makes_frames = task->node->op == SV_STFT || task->node->op == SV_FRAMES || task->node->op == SV_FBANK;
        for (uint32_t j = 0; j < task->input_count; j++)
            if (makes_frames != (task->inputs[j] < file->input_count)
                || makes_frames != sv_input(builder, task, j)->waveform)
                return sv_misfit(builder, task,
                                 makes_frames ? "expected an input of the graph" : "expected frames, got a waveform");
        if (sv_preparations[task->node->op](builder, task))
            return failure->status;
    }
    sv_value *output = &plan->values[plan->output];
    if (!output->streamed || output->waveform == (plan->features != 0))
        return sv_fail(failure, SV_BAD_FILE, "model: expected an output made of the first input");
    if (!plan->features && !sv_same_clock(output->clock, (sv_clock){0, 1}))
        return sv_fail(failure, SV_BAD_FILE, "model: expected as many frames out as in");
    plan->features = plan->features ? (uint32_t)output->size : 0;
    return sv_give_buffers(builder);
}

sv_status sv_make_plan(sv_plan *plan, const sv_file *file, sv_machine machine, sv_pool *pool, sv_failure *failure) {
    sv_builder builder = {.plan = plan, .file = file, .pool = pool, .failure = failure};
    *plan = (sv_plan){.machine = machine,
                      .functions = sv_functions_for(machine),
                      .input_count = file->input_count,
                      .value_count = file->input_count + file->node_count,
                      .output = file->output};
    sv_status status = make_tasks(&builder);
    free(builder.found.elements);
    free(builder.found.codes);
    return status;
}
