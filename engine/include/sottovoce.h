/* sottovoce: runs compressed speech models (.sotto files) on a CPU.
 *
 * C11 and libm, nothing else. A model is opened once and only read from then on; any number of sessions, each with a
 * state of its own, may run it, each in one thread at a time. After sv_open and sv_start nothing is allocated.
 *
 *     char text[SV_TEXT];
 *     sv_model *model; sv_session *session;
 *     if (sv_open_file(&model, "gcrn.sotto", NULL, text) || sv_start(&session, model, NULL, text)) puts(text);
 *     while (read_hop(in)) { sv_step(session, in, out, sv_query(model).hop); write_hop(out); }
 *     sv_end(&session); sv_close(&model);
 */
#ifndef SOTTOVOCE_H
#define SOTTOVOCE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SV_TEXT 256 /* bytes of an error's text, its end included */

typedef enum {
    SV_OK = 0,
    SV_BAD_ARGUMENT, /* a null pointer, a wrong length, a session that lacks a condition */
    SV_BAD_FILE,     /* damaged, cut short, of a later version, no model */
    SV_UNSUPPORTED,  /* a sound model that this engine cannot run, or not in this way */
    SV_NO_MEMORY
} sv_status;

/* What weights are multiplied with. Sums and all that is not a matrix product are 32-bit floats always. */
typedef enum {
    SV_INT8 = 0, /* 8-bit values, scaled anew for every frame: the fastest */
    SV_INT16,    /* 16-bit values, scaled anew for every frame */
    SV_FLOAT32   /* the weights and values as they are: what the reference computes */
} sv_precision;

/* The instructions to use: the best that this CPU has, or no better than those named. */
typedef enum { SV_BEST = 0, SV_PORTABLE, SV_AVX2, SV_AVX512, SV_NEON } sv_instructions;

typedef struct {
    sv_precision precision;
    sv_instructions instructions;
} sv_options;

typedef struct {
    size_t max_samples;   /* of a waveform given to sv_run at once, if the model is not causal; 0: 30 s */
    size_t max_condition; /* samples of a condition, such as an enrolment; 0: 30 s */
} sv_limits;

typedef struct {
    uint32_t sample_rate;         /* Hz */
    uint32_t hop;                 /* samples by which sv_step advances */
    uint32_t delay;               /* samples by which the output of sv_step lies behind its input */
    uint32_t conditions;          /* waveforms to sv_give before the first step */
    uint32_t features;            /* values of each frame of the output; 0: the output is a waveform */
    uint32_t frames;              /* of features that sv_step makes of a hop; 0: it makes none */
    int causal;                   /* whether sv_step works */
    sv_instructions instructions; /* those in use */
    size_t weight_bytes;          /* memory of the weights as they are run */
} sv_info;

typedef struct sv_model sv_model;
typedef struct sv_session sv_session;

/* Opens a model from the bytes of its file; they may go afterwards. `options` NULL: all zero. On failure *model is NULL
 * and `text`, if it is not NULL, says what was wanted, what came, and where. */
sv_status sv_open(sv_model **model, const void *bytes, size_t size, const sv_options *options, char text[SV_TEXT]);
sv_status sv_open_file(sv_model **model, const char *path, const sv_options *options, char text[SV_TEXT]);
void sv_close(sv_model **model);         /* after its sessions; *model is then NULL, and a NULL is left alone */
sv_info sv_query(const sv_model *model); /* all zero of NULL */

/* Starts a session, before the first sample. `limits` NULL: all zero. On failure *session is NULL. */
sv_status sv_start(sv_session **session, const sv_model *model, const sv_limits *limits, char text[SV_TEXT]);
void sv_end(sv_session **session);

/* Gives the condition of that number, counted from 0: a waveform known as a whole. Begins a fresh state. */
sv_status sv_give(sv_session *session, uint32_t condition, const float *samples, size_t count);

/* The next samples of the output, as many as are given, a multiple of hop; `out` may be `in`. Samples that are not
 * finite count as 0. A state that is no longer finite is forgotten, and its samples are 0.
 *
 * Of a model of features: the next frames, `frames` x `features` floats for each hop. Each is known `delay` samples
 * after its hop, so the first step, of a fresh state, takes `delay` samples more. */
sv_status sv_step(sv_session *session, const float *in, float *out, size_t samples);

/* The end of a waveform that was heard in steps, of a causal model of features: the frames of the last samples, any
 * number of them. They are sv_outputs(model, delay + samples) floats, or, if there was no step, sv_outputs(model,
 * samples). The state is fresh afterwards. */
sv_status sv_finish(sv_session *session, const float *in, size_t samples, float *out);
sv_status sv_reset(sv_session *session); /* forget everything that was heard; conditions stay */

/* The output for a whole waveform, as if nothing had come before: `sv_outputs` floats, in time with the input. The
 * state is fresh afterwards. */
sv_status sv_run(sv_session *session, const float *in, size_t samples, float *out);
size_t sv_outputs(const sv_model *model, size_t samples);

/* What the last call that failed said; "" if none did; of NULL that it is none. */
const char *sv_error(const sv_session *session);

#ifdef __cplusplus
}
#endif
#endif
