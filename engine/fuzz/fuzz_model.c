/* Fuzzing of whole models: what opens is told its conditions, run and stepped, and gives nothing that is not finite.
 *
 * The first byte of an input says in what precision and with which instructions, the rest is the file. */
#include <math.h>
#include <stdlib.h>

#include "input.h"
#include "sottovoce.h"

#define HEARD 1000     /* samples */
#define MOST (1 << 18) /* floats of an output that is asked for */

static float noise[MOST], out[MOST];

static void check(sv_status status, size_t count) {
    for (size_t i = 0; !status && i < count; i++)
        if (!isfinite(out[i]))
            abort();
}

/* Steps of a hop and of four, the first of `early` samples more. */
static void step(sv_session *session, const sv_info *info, size_t early) {
    for (size_t hops = 1; hops <= 4 && early + hops * info->hop <= MOST; hops += 3, early = 0) {
        size_t count = info->frames ? hops * info->frames * info->features : hops * info->hop;
        if (count <= MOST)
            check(sv_step(session, noise, out, early + hops * info->hop), count);
    }
}

static void use(sv_session *session, const sv_model *model) {
    static const size_t lengths[] = {0, 1, HEARD};
    sv_info info = sv_query(model);
    for (uint32_t i = 0; i < info.conditions; i++)
        sv_give(session, i, noise, HEARD - i % HEARD);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t count = sv_outputs(model, lengths[i]);
        if (count <= MOST)
            check(sv_run(session, noise, lengths[i], out), count);
    }
    for (int again = 0; again < 2; again++) {
        step(session, &info, info.frames ? info.delay : 0);
        size_t count = sv_outputs(model, info.delay + HEARD);
        if (info.frames && count <= MOST)
            check(sv_finish(session, noise, HEARD, out), count);
        sv_reset(session);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    static const sv_limits limits = {HEARD, HEARD};
    sv_model *model;
    sv_session *session;
    size_t length;
    for (size_t i = 0; !noise[0] && i < MOST; i++)
        noise[i] = (float)((i * 37 + 11) % 101) / 100 - 0.5f;
    if (!size)
        return 0;
    sv_options options
        = {(sv_precision)(input[0] % (SV_FLOAT32 + 1)), (sv_instructions)(input[0] / (SV_FLOAT32 + 1) % (SV_NEON + 1))};
    uint8_t *bytes = fuzz_file(input + 1, size - 1, &length);
    sv_status status = bytes ? sv_open(&model, bytes, length, &options, NULL) : SV_NO_MEMORY;
    free(bytes);
    if (status)
        return 0;
    if (!sv_start(&session, model, &limits, NULL))
        use(session, model);
    sv_end(&session);
    sv_close(&model);
    return 0;
}
