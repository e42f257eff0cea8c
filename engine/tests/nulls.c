/* Calls with NULL in place of what they need, on the model of a file: nulls FILE. It prints those that were taken. */
#include <stdio.h>
#include <string.h>

#include "sottovoce.h"

#define SAMPLES 65536

static int taken;
static float samples[SAMPLES];

static void check(int refused, const char *call) {
    if (!refused)
        puts(call);
    taken += !refused;
}

#define REFUSED(call) check((call) == SV_BAD_ARGUMENT, #call)
#define HOLDS(condition) check(condition, #condition)

int main(int count, char **arguments) {
    char text[SV_TEXT] = "expected a file";
    sv_model *model = NULL, *none = NULL;
    sv_session *session = NULL, *nothing = NULL;
    if (count < 2 || sv_open_file(&model, arguments[1], NULL, text) || sv_start(&session, model, NULL, text)) {
        puts(text);
        return 1;
    }
    size_t hop = sv_query(model).hop;
    REFUSED(sv_open(NULL, samples, sizeof samples, NULL, text));
    REFUSED(sv_open(&none, NULL, 0, NULL, text));
    REFUSED(sv_open(&none, NULL, 9, NULL, NULL));
    REFUSED(sv_open_file(NULL, arguments[1], NULL, text));
    REFUSED(sv_open_file(&none, NULL, NULL, text));
    HOLDS(!none && *text);
    REFUSED(sv_start(NULL, model, NULL, text));
    REFUSED(sv_start(&nothing, NULL, NULL, text));
    REFUSED(sv_start(&nothing, NULL, NULL, NULL));
    HOLDS(!nothing && *text);
    REFUSED(sv_give(NULL, 0, samples, hop));
    REFUSED(sv_give(session, 0, NULL, hop));
    REFUSED(sv_step(NULL, samples, samples, hop));
    REFUSED(sv_step(session, NULL, samples, hop));
    REFUSED(sv_step(session, samples, NULL, hop));
    REFUSED(sv_run(NULL, samples, hop, samples));
    REFUSED(sv_run(session, NULL, hop, samples));
    REFUSED(sv_run(session, samples, hop, NULL));
    REFUSED(sv_finish(NULL, samples, hop, samples));
    REFUSED(sv_reset(NULL));
    HOLDS(*sv_error(session));
    HOLDS(*sv_error(NULL));
    HOLDS(sv_query(NULL).hop == 0);
    HOLDS(sv_outputs(NULL, hop) == 0);
    sv_close(NULL);
    sv_close(&none);
    sv_end(NULL);
    sv_end(&nothing);
    HOLDS(sv_step(session, NULL, NULL, 0) == SV_OK);
    HOLDS(sv_step(session, samples, samples, hop) == SV_OK);
    sv_end(&session);
    sv_close(&model);
    HOLDS(!session && !model);
    return taken;
}
