/* Attention over frames with relative positions. */
#include <math.h>
#include <string.h>

#include "operand.h"

typedef struct {
    const sv_matrix *position;           /* of the sinusoids of a distance, for all channels */
    const float *content_bias, *position_bias;
    double *slowness;                    /* of each pair of sinusoids: radians for each frame */
    uint32_t channels, heads, sinusoids;
    size_t codes;                        /* bytes that the codes of a distance take */
} attention;

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
static void make_distances(const attention *own, const sv_work *work, float *distances, float *sinusoids, size_t before,
                           size_t after) {
    sv_vector vector = {.codes = sinusoids + own->sinusoids};
    for (size_t i = 0; i < before + 1 + after; i++) {
        double distance = (double)i - (double)after;
        for (uint32_t pair = 0; pair < own->sinusoids / 2; pair++) {
            sinusoids[2 * pair] = (float)sin(distance * own->slowness[pair]);
            sinusoids[2 * pair + 1] = (float)cos(distance * own->slowness[pair]);
        }
        sv_quantize(&vector, sinusoids, own->sinusoids, work->plan->machine);
        sv_multiply(own->position, &vector, 1, 0, NULL, 0, distances + i * own->channels, 0);
    }
}

static void run_attention(const sv_task *task, const sv_work *work) {
    const attention *own = task->own;
    const sv_functions *f = work->plan->functions;
    const float *query = sv_data(work, task->inputs[0]), *key = sv_data(work, task->inputs[1]);
    const float *value = sv_data(work, task->inputs[2]);
    float *y = sv_data(work, task->value);
    size_t channels = own->channels, size = channels / own->heads;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock);
    if (!frames)
        return;
    size_t before = within(task->attributes->before, frames), after = within(task->attributes->after, frames);
    float *sinusoids = sv_room(work, task->scratch), *content = sinusoids + own->sinusoids + own->codes / sizeof(float);
    float *positional = content + channels, *scores = positional + channels, *distances = scores + frames;
    float scale = 1 / sqrtf((float)size);
    make_distances(own, work, distances, sinusoids, before, after);
    for (size_t t = 0; t < frames; t++, y += channels) {
        size_t first = t > before ? t - before : 0, end = frames - t > after ? t + after + 1 : frames,
            count = end - first;
        f->add(content, query + t * channels, own->content_bias, channels);
        f->add(positional, query + t * channels, own->position_bias, channels);
        for (size_t c = 0; c < channels; c += size) {
            float highest = -INFINITY;
            for (size_t s = first; s < end; s++) {
                float score = scale * (dot(content + c, key + s * channels + c, size)
                                       + dot(positional + c, distances + (t + after - s) * channels + c, size));
                scores[s - first] = score;
                highest = score > highest ? score : highest;
            }
            f->affine(scores, scores, 1, -highest, count);
            f->exp(scores, scores, count);
            f->affine(scores, scores, 1 / f->sum(scores, count), 0, count);
            memset(y + c, 0, size * sizeof *y);
            for (size_t s = first; s < end; s++)
                for (size_t i = 0; i < size; i++)
                    y[c + i] += scores[s - first] * value[s * channels + c + i];
        }
    }
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
        || sv_floats(builder, task, 2, channels, &own->position_bias)
        || sv_shape(builder, task, 1, &channels)
        || sv_take_layer(builder, task, 0, channels, own->sinusoids, &own->position))
        return builder->failure->status;
    size_t fixed = (own->sinusoids + 2 * (size_t)channels) * sizeof(float) + own->codes;
    return sv_take_scratch(builder, task, x->clock, fixed, (1 + 2 * (size_t)channels) * sizeof(float));
}
