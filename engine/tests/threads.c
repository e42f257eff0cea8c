/* Sessions of one model side by side: threads FILE ... Each of two threads has the output that one alone has. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "sottovoce.h"

#define SAMPLES 3000
#define FLOATS 16384

typedef struct {
    const sv_model *model;
    float in[SAMPLES], out[FLOATS];
    char text[SV_TEXT];
    sv_status status;
} stream;

static stream alone[2], together[2];

static void *run(void *given) {
    stream *own = given;
    sv_session *session = NULL;
    own->status = sv_start(&session, own->model, NULL, own->text);
    for (uint32_t i = 0; !own->status && i < sv_query(own->model).conditions; i++)
        own->status = sv_give(session, i, own->in, SAMPLES);
    if (!own->status)
        own->status = sv_run(session, own->in, SAMPLES, own->out);
    sv_end(&session);
    return NULL;
}

static int compare(const char *path, sv_precision precision) {
    char text[SV_TEXT];
    sv_options options = {precision, SV_BEST};
    sv_model *model = NULL;
    pthread_t threads[2];
    if (sv_open_file(&model, path, &options, text) || sv_outputs(model, SAMPLES) > FLOATS)
        return 1;
    for (int i = 0; i < 2; i++) {
        alone[i].model = together[i].model = model;
        run(&alone[i]);
    }
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run, &together[i]))
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    int failed = 0;
    for (int i = 0; i < 2; i++)
        failed |= alone[i].status || together[i].status
            || memcmp(alone[i].out, together[i].out, sv_outputs(model, SAMPLES) * sizeof(float));
    sv_close(&model);
    return failed;
}

int main(int count, char **paths) {
    int failed = 0;
    for (unsigned i = 0; i < 2 * SAMPLES; i++)
        alone[i % 2].in[i / 2] = together[i % 2].in[i / 2] = (float)(i * 2654435761u >> 16) / 65536.0f - 0.5f;
    for (int i = 1; i < count; i++)
        for (int precision = SV_INT8; precision <= SV_FLOAT32; precision++)
            if (compare(paths[i], (sv_precision)precision)) {
                fprintf(stderr, "%s: expected what one thread alone says\n", paths[i]);
                failed = 1;
            }
    return failed;
}
