/* Whether memory is taken once a session has begun: allocations FILE ..., linked with --wrap of the functions that are
 * defined here. It prints the files that took some. */
#include <stdio.h>
#include <stdlib.h>

#include "sottovoce.h"

#define STEPS 100
#define MOST 65536

static unsigned long taken;
static float in[MOST], out[MOST];

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *before, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) {
    taken++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    taken++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *before, size_t size) {
    taken++;
    return __real_realloc(before, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    taken++;
    return __real_aligned_alloc(alignment, size);
}

static int fail(const char *path, const char *text) {
    printf("%s: %s\n", path, text);
    return 1;
}

static int run(const char *path, sv_precision precision) {
    char text[SV_TEXT];
    sv_options options = {precision, SV_BEST};
    sv_model *model = NULL;
    sv_session *session = NULL;
    if (sv_open_file(&model, path, &options, text) || sv_start(&session, model, NULL, text))
        return fail(path, text);
    sv_info info = sv_query(model);
    size_t count = info.hop + (info.features ? info.delay : 0), before = taken;
    int failed = count > MOST || sv_outputs(model, 8000) > MOST || !before;
    for (uint32_t i = 0; i < info.conditions && !failed; i++)
        failed = sv_give(session, i, in, 4000) != SV_OK;
    for (int step = 0; step < STEPS && info.causal && !failed; step++, count = info.hop)
        failed = sv_step(session, in, out, count) != SV_OK;
    if (!failed && info.causal && info.features)
        failed = sv_finish(session, in, info.hop, out) != SV_OK;
    failed = failed || sv_run(session, in, 8000, out) || sv_reset(session);
    if (failed)
        fail(path, sv_error(session));
    else if (taken != before)
        failed = fail(path, "expected no memory to be taken after sv_start");
    sv_end(&session);
    sv_close(&model);
    return failed;
}

int main(int count, char **paths) {
    int failed = 0;
    for (unsigned i = 0; i < MOST; i++)
        in[i] = (float)(i * 2654435761u >> 16) / 65536.0f - 0.5f;
    for (int i = 1; i < count; i++)
        for (int precision = SV_INT8; precision <= SV_FLOAT32; precision++)
            failed |= run(paths[i], (sv_precision)precision);
    return failed;
}
