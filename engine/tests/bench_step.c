/* Microseconds that a causal model takes for a hop of noise: bench_step FILE [PRECISION] [INSTRUCTIONS], numbers as in
 * sottovoce.h. With an engine compiled with -DSV_PROFILE also what each kind of operation takes, at its fastest. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sottovoce.h"

#define HOPS 10
#define ROUNDS 100

static double now(void) {
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    char text[SV_TEXT] = "expected a file";
    sv_options options = {count > 2 ? (sv_precision)atoi(arguments[2]) : SV_INT8,
                          count > 3 ? (sv_instructions)atoi(arguments[3]) : SV_BEST};
    sv_model *model = NULL;
    sv_session *session = NULL;
    double began = now();
    if (count < 2 || sv_open_file(&model, arguments[1], &options, text) || sv_start(&session, model, NULL, text)) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    sv_info info = sv_query(model);
    printf("opened in %.1f ms, %zu bytes of weights, instructions %d\n", (now() - began) / 1e3, info.weight_bytes,
           (int)info.instructions);
    size_t first = info.features ? info.delay + info.hop : info.hop, outputs = (size_t)info.frames * info.features;
    float *hop = calloc(first, sizeof *hop), *y = calloc(outputs > info.hop ? outputs : info.hop, sizeof *y);
    double times[ROUNDS];
    unsigned noise = 1;
    if (!info.causal || !hop || !y || sv_step(session, hop, y, first)) {
        fprintf(stderr, "expected a causal model with one input: %s\n", sv_error(session));
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        times[round] = 0;
        for (int i = 0; i < HOPS; i++) {
            for (unsigned n = 0; n < info.hop; n++) {
                noise = noise * 1664525u + 1013904223u;
                hop[n] = (float)(noise >> 8) / 16777216.0f * 0.2f - 0.1f;
            }
            double start = now();
            if (sv_step(session, hop, y, info.hop)) {
                fprintf(stderr, "%s\n", sv_error(session));
                return 1;
            }
            times[round] += (now() - start) / HOPS;
        }
    }
    qsort(times, ROUNDS, sizeof *times, ascending);
    printf("%.1f us a hop: the median of %d rounds; the fastest tenth %.1f\n", times[ROUNDS / 2], ROUNDS,
           times[ROUNDS / 10]);
    free(hop);
    free(y);
    sv_end(&session);
    sv_close(&model);
    return 0;
}
