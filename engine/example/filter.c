/* Filters a mono WAV file, of 16-bit integers or 32-bit floats, through the model in model.c, hop by hop where it can.
 *
 *     filter IN.wav OUT.wav [CONDITION.wav ...]
 *
 * Of a recognizer it says the shape of the features and writes nothing: filter IN.wav
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sottovoce.h"

typedef struct {
    float *samples;
    size_t count;
    uint32_t rate;
    int floats;
} wave;

static int fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

static uint32_t little(const unsigned char *bytes, int count) {
    uint32_t value = 0;
    while (count--)
        value = value << 8 | bytes[count];
    return value;
}

static void put_little(unsigned char *bytes, int count, uint32_t value) {
    for (; count--; value >>= 8)
        *bytes++ = (unsigned char)(value & 255);
}

/* The samples of `bytes` as floats in -1..1. */
static int decode_samples(wave *sound, const unsigned char *bytes, size_t size) {
    size_t width = sound->floats ? 4 : 2;
    sound->count = size / width;
    sound->samples = malloc((sound->count + 1) * sizeof(float));
    if (!sound->samples)
        return 0;
    for (size_t i = 0; i < sound->count; i++, bytes += width) {
        uint32_t bits = little(bytes, (int)width);
        if (sound->floats)
            memcpy(&sound->samples[i], &bits, 4);
        else
            sound->samples[i] = (float)((int32_t)bits - (bits & 0x8000 ? 65536 : 0)) / 32768.0f;
    }
    return 1;
}

static int read_wave(const char *path, wave *sound) {
    FILE *file = fopen(path, "rb");
    unsigned char head[12], about[40];
    int known = 0, found = 0;
    if (!file)
        return fail(path, "cannot be read");
    if (fread(head, 1, 12, file) != 12 || memcmp(head, "RIFF", 4) || memcmp(head + 8, "WAVE", 4)) {
        fclose(file);
        return fail(path, "expected a WAV file");
    }
    while (!found && fread(head, 1, 8, file) == 8) {
        uint32_t size = little(head + 4, 4);
        if (!memcmp(head, "fmt ", 4) && size >= 16 && size <= sizeof about) {
            if (fread(about, 1, size, file) != size)
                break;
            uint32_t kind = little(about, 2), bits = little(about + 14, 2);
            if (kind == 0xFFFE && size >= 26)
                kind = little(about + 24, 2);
            sound->rate = little(about + 4, 4);
            sound->floats = kind == 3;
            known = little(about + 2, 2) == 1 && ((kind == 1 && bits == 16) || (kind == 3 && bits == 32));
            if (size % 2)
                fgetc(file);
        } else if (!memcmp(head, "data", 4) && known) {
            unsigned char *bytes = malloc((size_t)size + 1);
            found = bytes && fread(bytes, 1, size, file) == size && decode_samples(sound, bytes, size);
            free(bytes);
            break;
        } else if (fseek(file, (long)size + (long)(size % 2), SEEK_CUR)) {
            break;
        }
    }
    fclose(file);
    return found ? 0 : fail(path, "expected a whole mono WAV file of 16-bit integers or 32-bit floats");
}

static int write_wave(const char *path, const wave *sound) {
    uint32_t width = sound->floats ? 4 : 2, size = (uint32_t)sound->count * width;
    unsigned char head[44] = "RIFF....WAVEfmt ", bytes[4];
    FILE *file = fopen(path, "wb");
    if (!file)
        return fail(path, "cannot be written");
    put_little(head + 4, 4, 36 + size);
    put_little(head + 16, 4, 16);
    put_little(head + 20, 2, sound->floats ? 3 : 1);
    put_little(head + 22, 2, 1);
    put_little(head + 24, 4, sound->rate);
    put_little(head + 28, 4, sound->rate * width);
    put_little(head + 32, 2, width);
    put_little(head + 34, 2, 8 * width);
    memcpy(head + 36, "data", 4);
    put_little(head + 40, 4, size);
    int good = fwrite(head, 1, 44, file) == 44;
    for (size_t i = 0; good && i < sound->count; i++) {
        float value = sound->samples[i];
        uint32_t bits;
        if (sound->floats)
            memcpy(&bits, &value, 4);
        else
            bits = (uint32_t)(int32_t)lrintf(fminf(fmaxf(value * 32768.0f, -32768.0f), 32767.0f));
        put_little(bytes, 4, bits);
        good = fwrite(bytes, 1, width, file) == width;
    }
    good &= !fclose(file);
    return good ? 0 : fail(path, "cannot be written");
}

/* The output lies `delay` samples behind the input: as many are left out at first and made up for at the end. */
static sv_status filter(sv_session *session, sv_info info, const wave *in, float *out) {
    float *hop = malloc(info.hop * sizeof(float));
    sv_status status = hop ? SV_OK : SV_NO_MEMORY;
    for (size_t heard = 0; !status && heard < in->count + info.delay; heard += info.hop) {
        for (size_t i = 0; i < info.hop; i++)
            hop[i] = heard + i < in->count ? in->samples[heard + i] : 0;
        status = sv_step(session, hop, hop, info.hop);
        for (size_t i = 0; i < info.hop; i++) {
            size_t place = heard + i - info.delay;
            if (heard + i >= info.delay && place < in->count)
                out[place] = hop[i];
        }
    }
    free(hop);
    return status;
}

static int run(sv_model *model, int count, char **paths) {
    char text[SV_TEXT] = "";
    sv_info info = sv_query(model);
    sv_session *session = NULL;
    wave in = {0}, given = {0};
    size_t longest = 0;
    int outputs = !info.features;
    if (count != 1 + outputs + (int)info.conditions)
        return fail("filter", "expected IN.wav OUT.wav [CONDITION.wav ...]");
    if (read_wave(paths[0], &in))
        return 1;
    for (uint32_t i = 0; i < info.conditions; i++) {
        if (read_wave(paths[1 + outputs + (int)i], &given))
            return free(in.samples), 1;
        if (given.count > longest)
            longest = given.count;
        free(given.samples);
    }
    sv_limits limits = {in.count, longest};
    sv_status status = sv_start(&session, model, &limits, text);
    for (uint32_t i = 0; !status && i < info.conditions; i++) {
        if (read_wave(paths[1 + outputs + (int)i], &given))
            status = SV_BAD_ARGUMENT;
        else if ((status = sv_give(session, i, given.samples, given.count)))
            memcpy(text, sv_error(session), SV_TEXT);
        free(given.samples);
    }
    size_t values = sv_outputs(model, in.count);
    wave out = {calloc(values + 1, sizeof(float)), values, in.rate, in.floats};
    if (!status && in.rate != info.sample_rate) {
        status = SV_BAD_ARGUMENT;
        snprintf(text, sizeof text, "expected %u Hz, got %u", (unsigned)info.sample_rate, (unsigned)in.rate);
    } else if (!status && !out.samples) {
        status = SV_NO_MEMORY;
    } else if (!status) {
        status = info.causal && outputs ? filter(session, info, &in, out.samples)
                                        : sv_run(session, in.samples, in.count, out.samples);
        if (status)
            memcpy(text, sv_error(session), SV_TEXT);
    }
    int bad = status ? fail(paths[0], text) : 0;
    if (!bad && outputs)
        bad = write_wave(paths[1], &out);
    if (!bad && !outputs)
        printf("%zu x %u\n", values / info.features, (unsigned)info.features);
    sv_end(&session);
    free(in.samples);
    free(out.samples);
    return bad;
}

int main(int count, char **arguments) {
    char text[SV_TEXT] = "";
    sv_model *model;
    if (sv_open(&model, model_bytes, model_size, NULL, text))
        return fail("model", text);
    int bad = run(model, count - 1, arguments + 1);
    sv_close(&model);
    return bad;
}
