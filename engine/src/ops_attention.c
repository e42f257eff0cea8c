/* Attention over frames with relative positions. */
#include <math.h>
#include <string.h>

#include "operand.h"

#define MOST_PRODUCTS ((uint64_t)1 << 32) /* to make the distances of chunks */

typedef struct {
    const sv_matrix *position; /* of the sinusoids of a distance, for all channels */
    const float *content_bias, *position_bias;
    double *slowness; /* of each pair of sinusoids: radians for each frame */
    uint32_t channels, heads, sinusoids;
    size_t codes;           /* bytes that the codes of a distance take */
    const float *distances; /* with chunks: what each comes to, from 1 - chunk to before + chunk - 1 */
    size_t values;          /* with chunks: where among the states those of the frames before begin */
} attention;

/* Frames one after the other, `before` of which are in the past. */
typedef struct {
    const float *past_keys, *past_values, *keys, *values;
    size_t before;
} sequence;

static float dot(const float *a, const float *b, size_t count) {
    float sums[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < count; i++)
        sum += a[i] * b[i];
    for (size_t j = 0; j < 8; j++)
        sum += sums[j];
    return sum;
}

/* How far a frame sees, of so many. */
static size_t within(uint32_t limit, size_t frames) { return limit < frames ? limit : frames - 1; }

/* What each distance comes to, [before + 1 + after][channels], the furthest one after this frame first. */
static void make_distances(const attention *own, sv_machine machine, float *distances, float *sinusoids, size_t before,
                           size_t after) {
    sv_vector vector = {.codes = sinusoids + own->sinusoids};
    for (size_t i = 0; i < before + 1 + after; i++) {
        double distance = (double)i - (double)after;
        for (uint32_t pair = 0; pair < own->sinusoids / 2; pair++) {
            sinusoids[2 * pair] = (float)sin(distance * own->slowness[pair]);
            sinusoids[2 * pair + 1] = (float)cos(distance * own->slowness[pair]);
        }
        sv_quantize(&vector, sinusoids, own->sinusoids, machine);
        sv_multiply(own->position, &vector, 1, 0, NULL, 0, distances + i * own->channels, 0);
    }
}

static const float *at(const float *past, const float *present, size_t before, size_t s, size_t channels) {
    return s < before ? past + s * channels : present + (s - before) * channels;
}

/* What one frame takes of `count` frames from `first` on; `distance` is that of the first, the next ones lie before it.
 * The scratch has room for two frames and for scores. */
static void attend(const attention *own, const sv_functions *f, const float *query, const sequence *of, size_t first,
                   size_t count, const float *distance, float *scratch, float *y) {
    size_t channels = own->channels, size = channels / own->heads;
    float *content = scratch, *positional = content + channels, *scores = positional + channels;
    float scale = 1 / sqrtf((float)size);
    f->add(content, query, own->content_bias, channels);
    f->add(positional, query, own->position_bias, channels);
    for (size_t c = 0; c < channels; c += size) {
        float highest = -INFINITY;
        for (size_t s = 0; s < count; s++) {
            const float *key = at(of->past_keys, of->keys, of->before, first + s, channels);
            float score
                = scale * (dot(content + c, key + c, size) + dot(positional + c, distance - s * channels + c, size));
            scores[s] = score;
            highest = score > highest ? score : highest;
        }
        f->affine(scores, scores, 1, -highest, count);
        f->exp(scores, scores, count);
        f->affine(scores, scores, 1 / f->sum(scores, count), 0, count);
        memset(y + c, 0, size * sizeof *y);
        for (size_t s = 0; s < count; s++) {
            const float *value = at(of->past_values, of->values, of->before, first + s, channels);
            for (size_t i = 0; i < size; i++)
                y[c + i] += scores[s] * value[c + i];
        }
    }
}

/* Puts the last frames of a block behind those before them. */
static void keep(const sv_work *work, float *past, const float *present, size_t before, size_t frames,
                 size_t channels) {
    size_t here = frames < before ? frames : before;
    memmove(past, past + here * channels, (before - here) * channels * sizeof *past);
    memcpy(past + (before - here) * channels, present + (frames - here) * channels, here * channels * sizeof *past);
    if (!isfinite(work->plan->functions->sum(present, frames * channels)))
        *work->sound = 0;
}

/* Each chunk sees itself and as many frames before it as there have been. */
static void run_chunks(const sv_task *task, const sv_work *work) {
    const attention *own = task->own;
    const float *query = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *past_keys = work->states + task->state;
    float *past_values = work->states + own->values;
    sv_clock clock = work->plan->values[task->value].clock;
    size_t channels = own->channels, frames = sv_frames(work, clock);
    size_t chunk = task->attributes->chunk, before = task->attributes->before;
    uint64_t position = sv_position(work, clock);
    sequence of = {past_keys, past_values, sv_data(work, task->inputs[1]), sv_data(work, task->inputs[2]), before};
    for (size_t start = 0; start < frames; start += chunk) {
        size_t size = chunk < frames - start ? chunk : frames - start;
        size_t known = position + start < before ? (size_t)(position + start) : before;
        for (size_t t = 0; t < size; t++)
            attend(own, work->plan->functions, query + (start + t) * channels, &of, before + start - known,
                   known + size, own->distances + (known + t + chunk - 1) * channels, sv_room(work, task->scratch),
                   y + (start + t) * channels);
    }
    if (before && frames) {
        keep(work, past_keys, of.keys, before, frames, channels);
        keep(work, past_values, of.values, before, frames, channels);
    }
}

static void run_attention(const sv_task *task, const sv_work *work) {
    const attention *own = task->own;
    const float *query = sv_data(work, task->inputs[0]);
    sequence of = {NULL, NULL, sv_data(work, task->inputs[1]), sv_data(work, task->inputs[2]), 0};
    float *y = sv_data(work, task->value);
    size_t channels = own->channels;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock);
    if (!frames)
        return;
    size_t before = within(task->attributes->before, frames), after = within(task->attributes->after, frames);
    float *sinusoids = sv_room(work, task->scratch), *scratch = sinusoids + own->sinusoids + own->codes / sizeof(float);
    float *distances = scratch + 2 * channels + frames;
    make_distances(own, work->plan->machine, distances, sinusoids, before, after);
    for (size_t t = 0; t < frames; t++) {
        size_t first = t > before ? t - before : 0, end = frames - t > after ? t + after + 1 : frames;
        attend(own, work->plan->functions, query + t * channels, &of, first, end - first,
               distances + (t + after - first) * channels, scratch, y + t * channels);
    }
}

/* With chunks: the distances, which are the same in all of them, and room for the frames before. */
static sv_status take_chunks(sv_builder *builder, sv_task *task, attention *own) {
    const sv_attributes *a = task->attributes;
    size_t count = (size_t)a->before + 2 * (size_t)a->chunk - 1, channels = own->channels;
    size_t bytes = count * channels * sizeof(float), *held = &builder->plan->weight_bytes;
    if (sv_take_state(builder, &task->state, a->before * channels)
        || sv_take_state(builder, &own->values, a->before * channels))
        return builder->failure->status;
    if ((uint64_t)count * channels * own->sinusoids > MOST_PRODUCTS || *held > SV_MOST_BYTES
        || bytes > SV_MOST_BYTES - *held)
        return sv_misfit(builder, task, "expected fewer distances between frames, got %zu", count);
    float *distances = sv_take(builder->pool, count * channels, sizeof *distances);
    float *sinusoids = sv_take(builder->pool, own->sinusoids + own->codes / sizeof(float), sizeof *sinusoids);
    if (!distances || !sinusoids)
        return sv_no_memory(builder);
    make_distances(own, builder->plan->machine, distances, sinusoids, a->before + a->chunk - 1, a->chunk - 1);
    *held += bytes;
    own->distances = distances;
    task->run = run_chunks;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1},
                           (2 * channels + a->before + a->chunk) * sizeof(float), 0);
}

sv_status sv_attention_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    const sv_entry *position = task->node->tensors[0];
    attention *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own)
        return sv_no_memory(builder);
    for (uint32_t i = 0; i < 3; i++) {
        const sv_value *input = sv_input(builder, task, i);
        if (input->axes != 1 || input->shape[0] != x->shape[0] || !sv_same_clock(input->clock, x->clock))
            return sv_misfit(builder, task, "expected queries, keys and values of as many channels and frames");
    }
    uint32_t channels = x->shape[0], heads = task->attributes->heads;
    if (channels % heads || position->axes != 2 || position->shape[0] != channels || !position->elements
        || position->shape[1] % 2)
        return sv_misfit(builder, task, "expected channels of %u heads alike, and a position for each, got %u", heads,
                         channels);
    *own = (attention){.channels = channels, .heads = heads, .sinusoids = position->shape[1]};
    own->codes = (sv_codes_bytes(own->sinusoids) + 63) / 64 * 64;
    own->slowness = sv_take(builder->pool, own->sinusoids / 2, sizeof *own->slowness);
    task->own = own;
    task->run = run_attention;
    if (!own->slowness)
        return sv_no_memory(builder);
    for (uint32_t pair = 0; pair < own->sinusoids / 2; pair++)
        own->slowness[pair] = pow(10000, -2.0 * pair / own->sinusoids);
    if (sv_floats(builder, task, 1, channels, &own->content_bias)
        || sv_floats(builder, task, 2, channels, &own->position_bias) || sv_shape(builder, task, 1, &channels)
        || sv_take_layer(builder, task, 0, channels, own->sinusoids, &own->position))
        return builder->failure->status;
    if (task->attributes->chunk)
        return take_chunks(builder, task, own);
    size_t fixed = (own->sinusoids + 2 * (size_t)channels) * sizeof(float) + own->codes;
    return sv_take_scratch(builder, task, x->clock, fixed, (1 + 2 * (size_t)channels) * sizeof(float));
}
