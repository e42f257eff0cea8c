/* From waveform to frames or spectra and back, and what is done to spectra. */
#include <math.h>
#include <string.h>

#include "fft.h"
#include "ops.h"

typedef struct {
    uint32_t n_fft, hop, bins;
    const float *window, *norm; /* norm: what an added-up sample of a hop is multiplied with */
    const sv_fft *fft;          /* NULL: frames as they are */
} framing;

static sv_status take_framing(sv_builder *builder, sv_task *task, int transformed) {
    const sv_attributes *a = task->attributes;
    framing *own = sv_take(builder->pool, 1, sizeof *own);
    float *window = sv_take(builder->pool, a->n_fft, sizeof *window),
          *norm = sv_take(builder->pool, a->hop, sizeof *norm);
    if (!own || !window || !norm)
        return sv_no_memory(builder);
    if (a->n_fft % a->hop)
        return sv_misfit(builder, task, "expected an n_fft of whole hops, got n_fft %u and hop %u", a->n_fft, a->hop);
    const double pi = 3.14159265358979323846;
    for (uint32_t n = 0; n < a->n_fft; n++)
        window[n] = a->window == SV_RECT || a->n_fft == 1 ? 1.0f
            : a->window == SV_HAMMING                     ? (float)(0.54 - 0.46 * cos(2 * pi * n / (a->n_fft - 1)))
                                                          : (float)sin(pi * n / a->n_fft);
    if (a->window == SV_HANN_SQRT)
        window[0] = 0.0f;
    for (uint32_t n = 0; n < a->n_fft; n++)
        norm[n % a->hop] += window[n] * window[n];
    for (uint32_t j = 0; j < a->hop; j++)
        norm[j] = norm[j] > 0 ? 1 / norm[j] : 0;
    *own = (framing){a->n_fft, a->hop, a->n_fft / 2 + 1, window, norm, NULL};
    task->own = own;
    if (sv_take_state(builder, &task->state, a->n_fft - a->hop))
        return builder->failure->status;
    if (!transformed)
        return SV_OK;
    if (sv_make_fft(&own->fft, a->n_fft, builder->pool, builder->failure))
        return builder->failure->status;
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1},
                           (sv_fft_scratch(own->fft) + a->n_fft) * sizeof(float), 0);
}

static void run_frames(const sv_task *task, const sv_work *work) {
    const framing *own = task->own;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *past = work->states + task->state;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), kept = own->n_fft - own->hop;
    size_t size = work->plan->values[task->value].size;
    for (size_t t = 0; t < frames; t++, x += own->hop, y += size) {
        float *frame = own->fft ? sv_room(work, task->scratch) : y;
        memcpy(frame, past, kept * sizeof *frame);
        memcpy(frame + kept, x, own->hop * sizeof *frame);
        memcpy(past, frame + own->hop, kept * sizeof *frame);
        work->plan->functions->mul(frame, frame, own->window, own->n_fft);
        if (own->fft)
            sv_fft_forward(own->fft, y, frame, frame + own->n_fft);
    }
}

sv_status sv_stft_task(sv_builder *builder, sv_task *task) {
    uint32_t shape[] = {task->attributes->n_fft / 2 + 1, 2};
    task->run = run_frames;
    return take_framing(builder, task, 1) ? builder->failure->status : sv_shape(builder, task, 2, shape);
}

sv_status sv_frames_task(sv_builder *builder, sv_task *task) {
    task->run = run_frames;
    return take_framing(builder, task, 0) ? builder->failure->status
                                          : sv_shape(builder, task, 1, &task->attributes->n_fft);
}

static void run_overlap_add(const sv_task *task, const sv_work *work) {
    const framing *own = task->own;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *overlap = work->states + task->state;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock), kept = own->n_fft - own->hop;
    size_t size = work->plan->values[task->inputs[0]].size;
    const sv_functions *f = work->plan->functions;
    float *frame = sv_room(work, task->scratch);
    for (size_t t = 0; t < frames; t++, x += size, y += own->hop) {
        if (own->fft)
            sv_fft_inverse(own->fft, frame, x, frame + own->n_fft);
        f->mul(frame, own->fft ? frame : x, own->window, own->n_fft);
        f->add(frame, frame, overlap, kept);
        memcpy(overlap, frame + own->hop, kept * sizeof *frame);
        f->mul(y, frame, own->norm, own->hop);
        if (!isfinite(f->sum(frame, own->n_fft)))
            *work->sound = 0;
    }
}

static sv_status overlap_add(sv_builder *builder, sv_task *task, int transformed) {
    const sv_attributes *a = task->attributes;
    const sv_value *x = sv_input(builder, task, 0);
    task->run = run_overlap_add;
    if (transformed ? x->axes != 2 || x->shape[0] != a->n_fft / 2 + 1 || x->shape[1] != 2
                    : x->axes != 1 || x->shape[0] != a->n_fft)
        return sv_misfit(builder, task, "expected %s of n_fft %u", transformed ? "a spectrum" : "frames", a->n_fft);
    if (take_framing(builder, task, transformed) || sv_shape(builder, task, 1, &a->hop))
        return builder->failure->status;
    builder->plan->values[task->value].axes = 0;
    builder->plan->values[task->value].waveform = 1;
    return transformed ? SV_OK : sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, a->n_fft * sizeof(float), 0);
}

sv_status sv_istft_task(sv_builder *builder, sv_task *task) { return overlap_add(builder, task, 1); }
sv_status sv_overlap_add_task(sv_builder *builder, sv_task *task) { return overlap_add(builder, task, 0); }

static int is_spectrum(const sv_value *x) { return x->axes == 2 && x->shape[1] == 2; }

static void run_magnitude(const sv_task *task, const sv_work *work) {
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value);
    const sv_value *value = &work->plan->values[task->value];
    size_t count = sv_frames(work, value->clock) * value->size;
    for (size_t i = 0; i < count; i++)
        y[i] = sqrtf(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1] + 1e-12f);
}

sv_status sv_magnitude_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    task->run = run_magnitude;
    return is_spectrum(x) ? sv_shape(builder, task, 1, x->shape) : sv_misfit(builder, task, "expected a spectrum");
}

static void run_power_law(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *factor = sv_room(work, task->scratch);
    size_t frames = sv_frames(work, value->clock), bins = value->size / 2;
    for (size_t t = 0; t < frames; t++, x += value->size, y += value->size) {
        for (size_t k = 0; k < bins; k++)
            factor[k] = x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1] + 1e-12f;
        work->plan->functions->power(factor, factor, (float)((task->attributes->power - 1) / 2), bins);
        for (size_t k = 0; k < bins; k++) {
            y[2 * k] = x[2 * k] * factor[k];
            y[2 * k + 1] = x[2 * k + 1] * factor[k];
        }
    }
}

sv_status sv_power_law_task(sv_builder *builder, sv_task *task) {
    const sv_value *x = sv_input(builder, task, 0);
    task->run = run_power_law;
    task->room = SV_IN_PLACE;
    if (!is_spectrum(x))
        return sv_misfit(builder, task, "expected a spectrum");
    return sv_same_shape(builder, task)
        ? builder->failure->status
        : sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, x->size / 2 * sizeof(float), 0);
}

static void run_running_rms(const sv_task *task, const sv_work *work) {
    const sv_attributes *a = task->attributes;
    const sv_value *spectrum = &work->plan->values[task->inputs[0]];
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *state = work->states + task->state;
    size_t frames = sv_frames(work, spectrum->clock);
    for (size_t t = 0; t < frames; t++, x += spectrum->size) {
        float power = work->plan->functions->sum_of_squares(x, 0, spectrum->size) / (float)spectrum->shape[0];
        state[0] = (float)a->decay * state[0] + power / (float)a->window_energy;
        state[1] = (float)a->decay * state[1] + 1.0f;
        float level = sqrtf(state[0] / state[1]);
        y[t] = level > (float)a->floor ? level : (float)a->floor;
        if (!isfinite(state[0]))
            *work->sound = 0;
    }
}

sv_status sv_running_rms_task(sv_builder *builder, sv_task *task) {
    uint32_t one = 1;
    task->run = run_running_rms;
    if (!is_spectrum(sv_input(builder, task, 0)))
        return sv_misfit(builder, task, "expected a spectrum");
    return sv_take_state(builder, &task->state, 2) ? builder->failure->status : sv_shape(builder, task, 1, &one);
}
