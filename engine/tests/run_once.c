/* Runs models on a little noise, at each precision, at once and in hops: run_once FILE ... Meant for the sanitizers. */
#include <stdio.h>
#include <stdlib.h>

#include "sottovoce.h"

#define SAMPLES 4001

static int fail(const char *path, const char *text) {
    fprintf(stderr, "%s: %s\n", path, text);
    return 1;
}

static int run(const char *path, sv_precision precision, const float *noise) {
    char text[SV_TEXT];
    sv_options options = {precision, SV_BEST};
    sv_limits limits = {SAMPLES, SAMPLES};
    sv_model *model = NULL;
    sv_session *session = NULL;
    if (sv_open_file(&model, path, &options, text) || sv_start(&session, model, &limits, text))
        return fail(path, text);
    sv_info info = sv_query(model);
    float *out = calloc(sv_outputs(model, SAMPLES) + SAMPLES, sizeof *out);
    int failed = 0;
    for (unsigned i = 0; i < info.conditions; i++)
        failed |= sv_give(session, i, noise, SAMPLES) != SV_OK;
    for (size_t samples = 0; samples <= SAMPLES; samples = samples * 3 + 1)
        failed |= sv_run(session, noise, samples, out) != SV_OK;
    failed |= sv_run(session, noise, SAMPLES, out) != SV_OK;
    size_t at = 0, count = info.hop + (info.features ? info.delay : 0);
    for (size_t hops = 2; info.causal && at + count <= SAMPLES; at += count, count = hops * info.hop, hops = 3 - hops)
        failed |= sv_step(session, noise + at, out, count) != SV_OK;
    failed |= info.causal && info.features && sv_finish(session, noise + at, SAMPLES - at, out) != SV_OK;
    if (failed)
        fail(path, sv_error(session));
    free(out);
    sv_end(&session);
    sv_close(&model);
    return failed;
}

int main(int count, char **paths) {
    float noise[SAMPLES];
    unsigned state = 1;
    int failed = 0;
    for (int i = 0; i < SAMPLES; i++) {
        state = state * 1664525u + 1013904223u;
        noise[i] = (float)(state >> 8) / 16777216.0f * 0.2f - 0.1f;
    }
    for (int i = 1; i < count; i++)
        for (int precision = SV_INT8; precision <= SV_FLOAT32; precision++)
            failed |= run(paths[i], (sv_precision)precision, noise);
    return failed;
}
