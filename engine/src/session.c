/* A session: the memory to run a model, and the stream that goes through it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "open.h"

#define DEFAULT_SECONDS 30
#define LOUDEST 1e4f /* magnitude of a sample that is let in */

struct sv_session {
    sv_pool pool;
    const sv_model *model;
    sv_work work;
    size_t *frames;   /* of each input, now */
    size_t *capacity; /* samples of each input, at most; of a stream: of a block */
    uint8_t *given;   /* of each input, whether it is there */
    int sound;
    int begun; /* a stream of features: its first samples, and those mirrored, are there */
    sv_failure failure;
};

/* Room for so many samples of each input. */
static sv_status take_memory(sv_session *session, const sv_limits *limits, sv_failure *failure) {
    const sv_plan *plan = &session->model->plan;
    uint64_t usual = (uint64_t)session->model->file.sample_rate * DEFAULT_SECONDS;
    sv_work *work = &session->work;
    size_t *offsets = sv_take(&session->pool, plan->buffer_count, 2 * sizeof *offsets);
    size_t *most = sv_take(&session->pool, plan->input_count, sizeof *most);
    session->frames = sv_take(&session->pool, plan->input_count, sizeof *session->frames);
    session->capacity = sv_take(&session->pool, plan->input_count, sizeof *session->capacity);
    session->given = sv_take(&session->pool, plan->input_count, sizeof *session->given);
    if (!offsets || !most || !session->frames || !session->capacity || !session->given)
        return sv_fail(failure, SV_NO_MEMORY, "no memory for a session");
    for (uint32_t i = 0; i < plan->input_count; i++) {
        size_t asked = !limits ? 0 : i ? limits->max_condition : limits->max_samples;
        session->capacity[i] = asked ? asked : usual > SIZE_MAX / 4 ? SIZE_MAX / 4 : (size_t)usual;
        most[i] = !i && plan->causal ? plan->most : sv_frames_for(plan, i, session->capacity[i]);
    }
    size_t bytes = sv_lay_out(plan, most, offsets);
    *work = (sv_work){.plan = plan, .offsets = offsets, .frames = session->frames, .sound = &session->sound};
    work->memory = bytes == SIZE_MAX ? NULL : sv_take(&session->pool, bytes, 1);
    work->states = sv_take(&session->pool, plan->states, sizeof *work->states);
    if (!work->memory || !work->states)
        return sv_fail(failure, SV_NO_MEMORY, "no memory for a session of %zu samples at once", session->capacity[0]);
    return SV_OK;
}

sv_status sv_start(sv_session **session, const sv_model *model, const sv_limits *limits, char text[SV_TEXT]) {
    sv_failure failure = {SV_OK, ""};
    if (session)
        *session = NULL;
    if (!session || !model) {
        sv_fail(&failure, SV_BAD_ARGUMENT, "sv_start: expected a session and a model, got NULL");
        return sv_hand_out(&failure, text);
    }
    sv_session *made = calloc(1, sizeof *made);
    if (made)
        made->model = model;
    if (!made)
        sv_fail(&failure, SV_NO_MEMORY, "no memory for a session");
    else if (!take_memory(made, limits, &failure))
        *session = made;
    else
        sv_end(&made);
    return sv_hand_out(&failure, text);
}

void sv_end(sv_session **session) {
    if (!session || !*session)
        return;
    sv_release(&(*session)->pool);
    free(*session);
    *session = NULL;
}

const char *sv_error(const sv_session *session) {
    return session ? session->failure.text : "expected a session, got NULL";
}

/* Readies the session for a failure of this call. */
static sv_failure *fresh(sv_session *session) {
    session->failure.status = SV_OK;
    return &session->failure;
}

static void forget(sv_session *session) {
    const sv_plan *plan = &session->model->plan;
    memset(session->work.states, 0, plan->states * sizeof *session->work.states);
    session->work.position = 0;
}

/* Forgets the samples too. */
static void begin_anew(sv_session *session) {
    forget(session);
    session->begun = 0;
}

static float tamed(float x) { return !isfinite(x) ? 0 : x > LOUDEST ? LOUDEST : x < -LOUDEST ? -LOUDEST : x; }

/* The samples of an input for so many frames, zeros after the last. */
static void let_in(sv_session *session, uint32_t input, const float *samples, size_t count, size_t frames) {
    const sv_plan *plan = &session->model->plan;
    float *to = sv_data(&session->work, input);
    size_t room = frames * plan->hops[input];
    if (!input && plan->features)
        room = count; /* what is left of a hop is heard too */
    for (size_t i = 0; i < count; i++)
        to[i] = tamed(samples[i]);
    memset(to + count, 0, (room - count) * sizeof *to);
    session->frames[input] = frames;
}

/* The samples of so many frames of a stream of features, behind those before them: mirrored ones before the first, and
 * after the last where there are fewer. */
static void listen(sv_session *session, const float *samples, size_t count, size_t frames) {
    const sv_plan *plan = &session->model->plan;
    float *to = sv_data(&session->work, 0);
    size_t before = session->begun ? plan->past : 0, all = before + count, period = 2 * all;
    for (size_t i = before; i < plan->past + frames * plan->hop; i++) {
        size_t place = session->begun ? i : (i + (plan->delay / period + 1) * period - plan->delay);
        place %= period;
        place = place < all ? place : period - 1 - place;
        to[i] = place < before ? to[place] : tamed(samples[place - before]);
    }
    session->begun = 1;
    session->frames[0] = frames;
}

/* Runs the stream's tasks for what was let in; where that is not finite, it gives zeros and forgets. */
static const float *run_stream(sv_session *session) {
    const sv_plan *plan = &session->model->plan;
    const sv_value *output = &plan->values[plan->output];
    float *y = sv_data(&session->work, plan->output);
    size_t count = sv_frames(&session->work, output->clock) * output->size;
    session->sound = 1;
    sv_run_tasks(plan, &session->work, plan->first_streamed, plan->task_count);
    session->work.position += session->frames[0];
    if (session->sound)
        for (size_t i = 0; i < count; i++)
            session->sound &= isfinite(y[i]) != 0;
    if (!session->sound) {
        memset(y, 0, count * sizeof *y);
        forget(session);
    }
    return y;
}

/* The features of so many frames that were listened to; their end. */
static float *put_frames(sv_session *session, float *out) {
    const sv_plan *plan = &session->model->plan;
    const sv_value *output = &plan->values[plan->output];
    float *x = sv_data(&session->work, 0);
    size_t count = sv_frames(&session->work, output->clock) * output->size;
    memcpy(out, run_stream(session), count * sizeof *out);
    memmove(x, x + session->frames[0] * plan->hop, plan->past * sizeof *x);
    return out + count;
}

/* Samples that so many frames of features take now. */
static size_t taken(const sv_session *session, size_t frames) {
    const sv_plan *plan = &session->model->plan;
    return frames * plan->hop + (session->begun ? 0 : plan->delay);
}

static sv_status check_conditions(sv_session *session) {
    for (uint32_t i = 1; i < session->model->plan.input_count; i++)
        if (!session->given[i])
            return sv_fail(fresh(session), SV_BAD_ARGUMENT, "expected condition %u to be given first: see sv_give",
                           i - 1);
    return SV_OK;
}

sv_status sv_give(sv_session *session, uint32_t condition, const float *samples, size_t count) {
    if (!session)
        return SV_BAD_ARGUMENT;
    const sv_plan *plan = &session->model->plan;
    if (condition >= plan->input_count - 1)
        return sv_fail(fresh(session), SV_BAD_ARGUMENT, "sv_give: expected a condition below %u, got %u",
                       plan->input_count - 1, condition);
    uint32_t input = condition + 1;
    if (!samples || !count || count > session->capacity[input])
        return sv_fail(fresh(session), SV_BAD_ARGUMENT, "sv_give: expected 1 to %zu samples, got %zu",
                       session->capacity[input], samples ? count : 0);
    let_in(session, input, samples, count, sv_frames_for(plan, input, count));
    session->given[input] = 1;
    for (uint32_t i = 1; i < plan->input_count; i++)
        if (!session->given[i])
            return SV_OK;
    begin_anew(session);
    sv_run_tasks(plan, &session->work, 0, plan->first_streamed);
    forget(session);
    return SV_OK;
}

static sv_status step_features(sv_session *session, const float *in, float *out, size_t samples) {
    const sv_plan *plan = &session->model->plan;
    size_t early = taken(session, 0), hop = (size_t)plan->hop * plan->piece;
    if (samples < early || (samples - early) % hop || (samples && (!in || !out)))
        return sv_fail(fresh(session), SV_BAD_ARGUMENT,
                       "sv_step: expected a multiple of %zu samples and %zu more, got %zu%s", hop, early, samples,
                       !in || !out ? " at NULL" : "");
    if (check_conditions(session))
        return session->failure.status;
    for (size_t used; samples; in += used, samples -= used) {
        size_t frames = (samples - taken(session, 0)) / plan->hop;
        frames = frames < plan->block ? frames : plan->block;
        used = taken(session, frames);
        listen(session, in, used, frames);
        out = put_frames(session, out);
    }
    return SV_OK;
}

sv_status sv_step(sv_session *session, const float *in, float *out, size_t samples) {
    if (!session)
        return SV_BAD_ARGUMENT;
    const sv_plan *plan = &session->model->plan;
    if (!plan->causal)
        return sv_fail(fresh(session), SV_UNSUPPORTED, "sv_step: expected a causal model: sv_run works with this one");
    if (plan->features)
        return step_features(session, in, out, samples);
    if (samples % plan->hop || (samples && (!in || !out)))
        return sv_fail(fresh(session), SV_BAD_ARGUMENT, "sv_step: expected a multiple of %u samples, got %zu%s",
                       plan->hop, samples, !in || !out ? " at NULL" : "");
    if (check_conditions(session))
        return session->failure.status;
    for (size_t done = 0, block; done < samples; done += block) {
        size_t frames = (samples - done) / plan->hop;
        frames = frames < SV_BLOCK ? frames : SV_BLOCK;
        block = frames * plan->hop;
        let_in(session, 0, in + done, block, frames);
        memcpy(out + done, run_stream(session), block * sizeof *out);
    }
    return SV_OK;
}

sv_status sv_reset(sv_session *session) {
    if (!session)
        return SV_BAD_ARGUMENT;
    begin_anew(session);
    return SV_OK;
}

sv_status sv_finish(sv_session *session, const float *in, size_t samples, float *out) {
    if (!session)
        return SV_BAD_ARGUMENT;
    const sv_plan *plan = &session->model->plan;
    if (!plan->features || !plan->causal)
        return sv_fail(fresh(session), SV_UNSUPPORTED, "sv_finish: expected a causal model that gives features");
    if ((samples && !in) || !out || samples > SIZE_MAX / 8)
        return sv_fail(fresh(session), SV_BAD_ARGUMENT,
                       "sv_finish: expected samples and room for the output, got %zu%s", samples,
                       !in || !out ? " at NULL" : "");
    if (check_conditions(session))
        return session->failure.status;
    for (size_t used; (used = taken(session, plan->block)) <= samples; in += used, samples -= used) {
        listen(session, in, used, plan->block);
        out = put_frames(session, out);
    }
    size_t left = sv_frames_for(plan, 0, samples + (session->begun ? plan->delay : 0));
    if (left) {
        listen(session, in, samples, left);
        put_frames(session, out);
    }
    begin_anew(session);
    return SV_OK;
}

sv_status sv_run(sv_session *session, const float *in, size_t samples, float *out) {
    if (!session)
        return SV_BAD_ARGUMENT;
    const sv_plan *plan = &session->model->plan;
    if ((samples && (!in || !out)) || samples > SIZE_MAX / 8)
        return sv_fail(fresh(session), SV_BAD_ARGUMENT, "sv_run: expected samples and room for the output, got %zu%s",
                       samples, samples && (!in || !out) ? " at NULL" : "");
    if (!plan->causal && samples > session->capacity[0])
        return sv_fail(fresh(session), SV_BAD_ARGUMENT,
                       "sv_run: expected at most %zu samples, as the session was started for, "
                       "got %zu",
                       session->capacity[0], samples);
    if (check_conditions(session))
        return session->failure.status;
    size_t frames = sv_frames_for(plan, 0, samples), block = plan->causal ? SV_BLOCK : frames;
    begin_anew(session);
    if (plan->features && plan->causal)
        return samples ? sv_finish(session, in, samples, out) : SV_OK;
    if (plan->features) {
        let_in(session, 0, in, samples, frames);
        session->work.samples = samples;
        memcpy(out, run_stream(session), sv_outputs(session->model, samples) * sizeof *out);
        frames = 0;
    }
    for (size_t first = 0, count; first < frames && samples; first += count) {
        count = frames - first < block ? frames - first : block;
        size_t from = first * plan->hop, here = samples > from ? samples - from : 0, size = count * plan->hop;
        let_in(session, 0, here ? in + from : in, here < size ? here : size, count);
        const float *y = run_stream(session);
        /* Sample i of it is sample from + i - delay of the output. */
        size_t skipped = from < plan->delay ? plan->delay - from : 0, to = from + skipped - plan->delay;
        if (skipped < size && to < samples)
            memcpy(out + to, y + skipped,
                   (size - skipped < samples - to ? size - skipped : samples - to) * sizeof *out);
    }
    forget(session);
    return SV_OK;
}
