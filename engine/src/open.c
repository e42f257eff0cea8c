/* A model: read and planned once, for all sessions. */
#include "open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

sv_status sv_hand_out(const sv_failure *failure, char *text) {
    if (text)
        memcpy(text, failure->text, SV_TEXT);
    return failure->status;
}

size_t sv_frames_for(const sv_plan *plan, uint32_t input, size_t samples) {
    size_t hop = plan->hops[input];
    if (!input && plan->features)
        return samples / hop + (samples % hop + hop / 2) / hop;
    return samples / hop + (samples % hop != 0) + plan->delays[input] / hop;
}

static sv_status open_plan(sv_model *model, const void *bytes, size_t size, const sv_options *options,
                           sv_failure *failure) {
    sv_plan *plan = &model->plan;
    if (sv_read(&model->file, bytes, size, &model->pool, failure)
        || sv_make_plan(plan, &model->file, sv_machine_for(options), &model->pool, failure))
        return failure->status;
    size_t *frames = sv_take(&model->pool, plan->input_count, sizeof *frames);
    size_t *offsets = sv_take(&model->pool, plan->buffer_count, 2 * sizeof *offsets);
    if (!frames || !offsets)
        return sv_fail(failure, SV_NO_MEMORY, "no memory for the model");
    for (uint32_t i = 0; i < plan->input_count; i++)
        frames[i] = !i && plan->causal ? plan->most : sv_frames_for(plan, i, 1);
    if (sv_lay_out(plan, frames, offsets) > SV_MOST_BYTES)
        return sv_fail(failure, SV_BAD_FILE, "model: expected at most %zu bytes for the values of %zu frames, got more",
                       SV_MOST_BYTES, frames[0]);
    return SV_OK;
}

sv_status sv_open(sv_model **model, const void *bytes, size_t size, const sv_options *options, char text[SV_TEXT]) {
    sv_failure failure = {SV_OK, ""};
    if (model)
        *model = NULL;
    if (!model || !bytes
        || (options && ((unsigned)options->precision > SV_FLOAT32 || (unsigned)options->instructions > SV_NEON))) {
        sv_fail(&failure, SV_BAD_ARGUMENT, "sv_open: expected a model, bytes and options that there are");
        return sv_hand_out(&failure, text);
    }
    sv_model *made = calloc(1, sizeof *made);
    if (!made)
        sv_fail(&failure, SV_NO_MEMORY, "no memory for a model");
    else if (!open_plan(made, bytes, size, options, &failure))
        *model = made;
    else
        sv_close(&made);
    return sv_hand_out(&failure, text);
}

/* All of a file; NULL: `failure` says why. */
static char *read_all(const char *path, size_t *size, sv_failure *failure) {
    size_t room = 1 << 16, count = 0;
    char *bytes = NULL, *grown;
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file) {
        sv_fail(failure, SV_BAD_ARGUMENT, "%.200s: expected a file that can be read", path ? path : "NULL");
        return NULL;
    }
    do {
        room *= 2;
        if (!(grown = realloc(bytes, room)))
            break;
        bytes = grown;
        count += fread(bytes + count, 1, room - count, file);
    } while (count == room && room <= SIZE_MAX / 4);
    if (!grown || count == room)
        sv_fail(failure, SV_NO_MEMORY, "%.200s: no memory to read it", path);
    else if (ferror(file))
        sv_fail(failure, SV_BAD_ARGUMENT, "%.200s: expected a file that can be read", path);
    fclose(file);
    if (failure->status) {
        free(bytes);
        return NULL;
    }
    *size = count;
    return bytes;
}

sv_status sv_open_file(sv_model **model, const char *path, const sv_options *options, char text[SV_TEXT]) {
    sv_failure failure = {SV_OK, ""};
    size_t size = 0;
    if (model)
        *model = NULL;
    char *bytes = read_all(path, &size, &failure);
    if (!bytes)
        return sv_hand_out(&failure, text);
    sv_status status = sv_open(model, bytes, size, options, text);
    free(bytes);
    return status;
}

void sv_close(sv_model **model) {
    if (!model || !*model)
        return;
#ifdef SV_PROFILE
    sv_print_profile(&(*model)->plan);
#endif
    sv_release(&(*model)->pool);
    free(*model);
    *model = NULL;
}

sv_info sv_query(const sv_model *model) {
    if (!model)
        return (sv_info){0};
    const sv_plan *plan = &model->plan;
    uint32_t piece = plan->features && plan->causal ? plan->piece : 1;
    uint32_t frames = plan->features && plan->causal ? piece / plan->values[plan->output].clock.divide : 0;
    return (sv_info){.sample_rate = model->file.sample_rate,
                     .hop = plan->hop * piece,
                     .delay = plan->delay,
                     .conditions = plan->input_count - 1,
                     .features = plan->features,
                     .frames = frames,
                     .causal = plan->causal,
                     .instructions = plan->machine.instructions,
                     .weight_bytes = plan->weight_bytes};
}

size_t sv_outputs(const sv_model *model, size_t samples) {
    if (!model || !model->plan.features)
        return model ? samples : 0;
    const sv_value *output = &model->plan.values[model->plan.output];
    size_t frames = sv_frames_for(&model->plan, 0, samples) / output->clock.divide;
    return (output->clock.source == SV_ALONE ? 1 : frames) * output->size;
}
