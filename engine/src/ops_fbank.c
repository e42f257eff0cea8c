/* Log-mel filter banks: of a waveform that is known as a whole, or of what a stream has heard so far. */
#include <math.h>
#include <string.h>

#include "fft.h"
#include "ops.h"

#define EMPHASIS 0.97f      /* share of the sample before that is taken away */
#define LEAST 1.1920929e-7f /* of the power in a band: 2^-23 */

typedef struct {
    uint32_t first, count;
    const float *weight;
} band;

/* `size` is that of the transform. */
typedef struct {
    const sv_fft *fft;
    const float *window;
    band *bands;
    uint32_t size;
} fbank;

/* Sample `place` of a waveform mirrored at both ends, again and again. */
static float mirrored(const float *x, size_t samples, int64_t place) {
    int64_t period = 2 * (int64_t)samples, at = place % period;
    at = at < 0 ? at + period : at;
    return x[at < (int64_t)samples ? at : period - 1 - at];
}

static void run_fbank(const sv_task *task, const sv_work *work) {
    const fbank *own = task->own;
    const sv_attributes *a = task->attributes;
    const sv_functions *f = work->plan->functions;
    const float *x = sv_data(work, task->inputs[0]);
    float *y = sv_data(work, task->value), *frame = sv_room(work, task->scratch), *spectrum = frame + own->size;
    float *scratch = spectrum + own->size + 2;
    size_t frames = sv_frames(work, work->plan->values[task->value].clock);
    for (size_t t = 0; t < frames; t++, y += a->bins) {
        int64_t first = (int64_t)t * a->hop + a->hop / 2 - a->n_fft / 2;
        if (work->plan->causal) /* the samples before the present ones come first */
            memcpy(frame, x + t * a->hop, a->n_fft * sizeof *frame);
        else
            for (uint32_t n = 0; n < a->n_fft; n++)
                frame[n] = mirrored(x, work->samples, first + n);
        f->affine(frame, frame, 1, -f->sum(frame, a->n_fft) / (float)a->n_fft, a->n_fft);
        for (uint32_t n = a->n_fft; n-- > 0;)
            frame[n] -= EMPHASIS * frame[n ? n - 1 : 0];
        f->mul(frame, frame, own->window, a->n_fft);
        memset(frame + a->n_fft, 0, (own->size - a->n_fft) * sizeof *frame);
        sv_fft_forward(own->fft, spectrum, frame, scratch);
        for (uint32_t k = 0; k < own->size / 2; k++)
            frame[k] = spectrum[2 * k] * spectrum[2 * k] + spectrum[2 * k + 1] * spectrum[2 * k + 1];
        for (uint32_t b = 0; b < a->bins; b++) {
            const band *of = &own->bands[b];
            float power = 0;
            for (uint32_t k = 0; k < of->count; k++)
                power += of->weight[k] * frame[of->first + k];
            y[b] = power < LEAST ? LEAST : power;
        }
        f->log(y, y, a->bins);
    }
}

static double mel(double hertz) { return 1127 * log1p(hertz / 700); }

/* The triangle of a band over the spectrum below half the rate. */
static sv_status take_band(sv_builder *builder, const sv_attributes *a, band *of, uint32_t number, uint32_t size) {
    float *weights = NULL;
    for (int counting = 1; counting >= 0; counting--) {
        if (!counting && !(weights = sv_take(builder->pool, of->count, sizeof *weights)))
            return sv_no_memory(builder);
        of->count = 0;
        for (uint32_t k = 0; k < size / 2; k++) {
            double range = mel(a->high) - mel(a->low);
            double place = (mel((double)k * a->rate / size) - mel(a->low)) / range * (a->bins + 1);
            double weight = 1 - fabs(place - number - 1);
            if (!(weight > 0))
                continue;
            if (!of->count)
                of->first = k;
            if (weights)
                weights[of->count] = (float)weight;
            of->count++;
        }
    }
    of->weight = weights;
    return SV_OK;
}

sv_status sv_fbank_task(sv_builder *builder, sv_task *task) {
    const sv_attributes *a = task->attributes;
    fbank *own = sv_take(builder->pool, 1, sizeof *own);
    float *window = sv_take(builder->pool, a->n_fft, sizeof *window);
    if (!own || !window || !(own->bands = sv_take(builder->pool, a->bins, sizeof *own->bands)))
        return sv_no_memory(builder);
    if (!(a->low >= 0 && a->low < a->high && a->high <= a->rate / 2.0))
        return sv_misfit(builder, task, "expected a band within 0 and half the rate, got %g to %g Hz", a->low, a->high);
    own->size = 2;
    while (own->size < a->n_fft)
        own->size *= 2;
    for (uint32_t n = 0; n < a->n_fft; n++)
        window[n] = a->n_fft == 1 ? 1 : (float)pow(0.5 - 0.5 * cos(6.283185307179586476925 * n / (a->n_fft - 1)), 0.85);
    own->window = window;
    for (uint32_t b = 0; b < a->bins; b++)
        if (take_band(builder, a, &own->bands[b], b, own->size))
            return builder->failure->status;
    task->own = own;
    task->run = run_fbank;
    if (sv_make_fft(&own->fft, own->size, builder->pool, builder->failure) || sv_shape(builder, task, 1, &a->bins))
        return builder->failure->status;
    size_t floats = 2 * (size_t)own->size + 2 + sv_fft_scratch(own->fft);
    return sv_take_scratch(builder, task, (sv_clock){SV_ALONE, 1}, floats * sizeof(float), 0);
}
