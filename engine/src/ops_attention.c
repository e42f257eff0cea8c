/* Attention over frames with relative positions. */
#include <math.h>
#include <string.h>

#include "operand.h"

#define MOST_PRODUCTS ((uint64_t)1 << 32) /* to make the distances of chunks */
#define TURNS 32

typedef struct {
    const sv_matrix *position; /* of the sinusoids of a distance, for all channels */
    const float *content_bias, *position_bias;
    double *slowness; /* of each pair of sinusoids: radians for each frame */
    double *turns;    /* the sine and the cosine of that */
    uint32_t channels, heads, sinusoids;
    size_t codes;           /* bytes that the codes of a distance take */
    const float *distances; /* with chunks: what each comes to, from before + chunk - 1 to 1 - chunk */
    size_t values;          /* with chunks: where among the states those that were kept begin */
} attention;

/* How far a frame sees, of so many. */
static size_t within(uint32_t limit, size_t frames) { return limit < frames ? limit : frames - 1; }

/* Room that make_distances needs, in floats: sines and cosines so far, those of a distance and its codes, a row. */
static size_t room_for_distances(const attention *own) {
    return 3 * (size_t)own->sinusoids + own->codes / sizeof(float) + own->channels;
}

/* What each distance comes to, [channels][count], that to the furthest frame before first. A pair of sinusoids is
 * turned on from one distance to the next, and every TURNS found anew. */
static void make_distances(const attention *own, sv_machine machine, float *distances, double *turned, size_t before,
                           size_t count) {
    float *sinusoids = (float *)(turned + own->sinusoids), *row;
    sv_vector vector = {.codes = sinusoids + own->sinusoids};
    row = sinusoids + own->sinusoids + own->codes / sizeof(float);
    for (size_t i = 0; i < count; i++) {
        double distance = (double)before - (double)i;
        for (uint32_t k = 0; k < own->sinusoids; k += 2) {
            double sine = turned[k], cosine = turned[k + 1], *turn = own->turns + k;
            if (i % TURNS) {
                turned[k] = sine * turn[1] - cosine * turn[0];
                turned[k + 1] = cosine * turn[1] + sine * turn[0];
            } else {
                turned[k] = sin(distance * own->slowness[k / 2]);
                turned[k + 1] = cos(distance * own->slowness[k / 2]);
            }
            sinusoids[k] = (float)turned[k];
            sinusoids[k + 1] = (float)turned[k + 1];
        }
        sv_quantize(&vector, sinusoids, own->sinusoids, machine);
        sv_multiply(own->position, &vector, 1, 1, 0, NULL, 0, row, 0, 0);
        for (size_t c = 0; c < own->channels; c++)
            distances[c * count + i] = row[c];
    }
}

/* Of frames, or distances, one after the other: a row for each channel, so many floats apart. */
typedef struct {
    const float *rows;
    size_t apart;
} columns;

/* What one frame takes of `count` frames, whose distances to it go down. The scratch has room for two frames and for
 * two scores of each. */
static void attend(const attention *own, const sv_functions *f, const float *query, columns keys, const float *values,
                   size_t count, columns distances, float *scratch, float *y) {
    size_t channels = own->channels, size = channels / own->heads;
    float *content = scratch, *positional = content + channels, *scores = positional + channels;
    float *by_position = scores + count, scale = 1 / sqrtf((float)size);
    f->add(content, query, own->content_bias, channels);
    f->add(positional, query, own->position_bias, channels);
    for (size_t c = 0; c < channels; c += size) {
        float highest = -INFINITY;
        f->mix(scores, content + c, keys.rows + c * keys.apart, keys.apart, count, size);
        f->mix(by_position, positional + c, distances.rows + c * distances.apart, distances.apart, count, size);
        f->add(scores, scores, by_position, count);
        for (size_t s = 0; s < count; s++)
            highest = scores[s] > highest ? scores[s] : highest;
        f->affine(scores, scores, scale, -highest * scale, count);
        f->exp(scores, scores, count);
        f->affine(scores, scores, 1 / f->sum(scores, count), 0, count);
        f->mix(y + c, scores, values + c, channels, size, count);
    }
}

/* Each frame lies in a ring of `room` frames, and once more in a second one behind it, so that the last `room` frames
 * lie one after the other, whichever they are. Keys lie there channel by channel. */
static void keep(float *keys, float *values, const float *key, const float *value, size_t place, size_t room,
                 size_t channels) {
    for (size_t c = 0; c < channels; c++)
        keys[c * 2 * room + place] = keys[c * 2 * room + room + place] = key[c];
    memcpy(values + place * channels, value, channels * sizeof *value);
    memcpy(values + (room + place) * channels, value, channels * sizeof *value);
}

/* Each chunk sees itself and as many frames before it as there have been. */
static void run_chunks(const sv_task *task, const sv_work *work) {
    const attention *own = task->own;
    const sv_functions *f = work->plan->functions;
    const float *query = sv_data(work, task->inputs[0]), *key = sv_data(work, task->inputs[1]);
    const float *value = sv_data(work, task->inputs[2]);
    float *y = sv_data(work, task->value), *keys = work->states + task->state, *values = work->states + own->values;
    sv_clock clock = work->plan->values[task->value].clock;
    size_t channels = own->channels, frames = sv_frames(work, clock);
    size_t chunk = task->attributes->chunk, before = task->attributes->before, room = before + chunk;
    uint64_t position = sv_position(work, clock);
    for (size_t start = 0; start < frames; start += chunk) {
        size_t size = chunk < frames - start ? chunk : frames - start;
        size_t known = position + start < before ? (size_t)(position + start) : before;
        size_t first = (size_t)((position + start + room - known) % room);
        for (size_t t = start; t < start + size; t++)
            keep(keys, values, key + t * channels, value + t * channels, (size_t)((position + t) % room), room,
                 channels);
        for (size_t t = 0; t < size; t++) {
            columns distances = {own->distances + before + chunk - 1 - known - t, before + 2 * chunk - 1};
            attend(own, f, query + (start + t) * channels, (columns){keys + first, 2 * room}, values + first * channels,
                   known + size, distances, sv_room(work, task->scratch), y + (start + t) * channels);
        }
    }
    if (!isfinite(f->sum(key, frames * channels) + f->sum(value, frames * channels)))
        *work->sound = 0;
}

static void run_attention(const sv_task *task, const sv_work *work) {
    const attention *own = task->own;
    const float *query = sv_data(work, task->inputs[0]), *key = sv_data(work, task->inputs[1]);
    const float *values = sv_data(work, task->inputs[2]);
    float *y = sv_data(work, task->value);
    size_t channels = own->channels;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock);
    if (!frames)
        return;
    size_t before = within(task->attributes->before, frames), after = within(task->attributes->after, frames);
    size_t count = before + 1 + after;
    double *turned = sv_room(work, task->scratch);
    float *keys = (float *)turned + room_for_distances(own), *distances = keys + channels * frames;
    make_distances(own, work->plan->machine, distances, turned, before, count);
    for (size_t t = 0; t < frames; t++)
        for (size_t c = 0; c < channels; c++)
            keys[c * frames + t] = key[t * channels + c];
    for (size_t t = 0; t < frames; t++) {
        size_t first = t > before ? t - before : 0, end = frames - t > after ? t + after + 1 : frames;
        attend(own, work->plan->functions, query + t * channels, (columns){keys + first, frames},
               values + first * channels, end - first, (columns){distances + before + first - t, count},
               distances + channels * count, y + t * channels);
    }
}

/* With chunks: the distances, which are the same in all of them, and room for the frames before. */
static sv_status take_chunks(sv_builder *builder, sv_task *task, attention *own) {
    const sv_attributes *a = task->attributes;
    size_t count = (size_t)a->before + 2 * (size_t)a->chunk - 1, channels = own->channels;
    size_t bytes = count * channels * sizeof(float), *held = &builder->plan->weight_bytes;
    uint64_t rings = 2 * ((uint64_t)a->before + a->chunk) * channels;
    size_t kept = rings < SV_MOST_BYTES ? (size_t)rings : SV_MOST_BYTES;
    if (sv_take_state(builder, &task->state, kept) || sv_take_state(builder, &own->values, kept))
        return builder->failure->status;
    if ((uint64_t)count * channels * own->sinusoids > MOST_PRODUCTS || *held > SV_MOST_BYTES
        || bytes > SV_MOST_BYTES - *held)
        return sv_misfit(builder, task, "expected fewer distances between frames, got %zu", count);
    float *distances = sv_take(builder->pool, count * channels, sizeof *distances);
    double *turned = sv_take(builder->pool, room_for_distances(own), sizeof(float));
    if (!distances || !turned)
        return sv_no_memory(builder);
    make_distances(own, builder->plan->machine, distances, turned, a->before + a->chunk - 1, count);
    *held += bytes;
    own->distances = distances;
    task->run = run_chunks;
    size_t scores = 2 * ((size_t)a->before + a->chunk);
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, (2 * channels + scores) * sizeof(float), 0);
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
    own->turns = sv_take(builder->pool, own->sinusoids, sizeof *own->turns);
    task->own = own;
    task->run = run_attention;
    if (!own->slowness || !own->turns)
        return sv_no_memory(builder);
    for (uint32_t pair = 0; pair < own->sinusoids / 2; pair++) {
        own->slowness[pair] = pow(10000, -2.0 * pair / own->sinusoids);
        own->turns[2 * pair] = sin(own->slowness[pair]);
        own->turns[2 * pair + 1] = cos(own->slowness[pair]);
    }
    if (sv_floats(builder, task, 1, channels, &own->content_bias)
        || sv_floats(builder, task, 2, channels, &own->position_bias) || sv_shape(builder, task, 1, &channels)
        || sv_take_layer(builder, builder->plan->machine, task, 0, channels, own->sinusoids, &own->position))
        return builder->failure->status;
    if (task->attributes->chunk)
        return take_chunks(builder, task, own);
    size_t fixed = room_for_distances(own) + 2 * (size_t)channels;
    return sv_take_scratch(builder, task, x->clock, fixed * sizeof(float), (2 + 3 * (size_t)channels) * sizeof(float));
}
