/* A model as it is run: its nodes in order, the shape of every value, and which memory each of them needs. */
#ifndef SV_PLAN_H
#define SV_PLAN_H

#include "vector.h"

#define SV_BLOCK 16          /* frames of a causal model that run at once, unless a piece is longer */
#define SV_MOST_FRAMES 65536 /* of a piece: docs/format.md, "A model" */
#define SV_ALONE UINT32_MAX  /* source of a value that has one frame, whatever comes in */
#define SV_NONE UINT32_MAX
#define SV_MOST_BYTES ((size_t)1 << 30) /* that the values of a few frames may take */

/* How many frames a value has: those of an input of the graph, divided. */
typedef struct {
    uint32_t source, divide;
} sv_clock;

/* Frames one after the other, each [shape], row by row. A waveform has no axes, and `size` samples in a frame. */
typedef struct {
    uint32_t axes, shape[SV_AXES];
    size_t size; /* floats of a frame */
    sv_clock clock;
    int waveform, streamed; /* streamed: it depends on the first input */
    uint32_t task, readers; /* what makes it, SV_NONE for an input; tasks that read it */
    uint32_t buffer;
} sv_value;

/* A piece of a session's memory, in use from one task to another: what lies apart in time may share a place. */
typedef struct {
    sv_clock clock;
    size_t fixed, per_frame; /* bytes */
    uint32_t first, last;
} sv_buffer;

typedef struct sv_task sv_task;
typedef struct sv_work sv_work;
typedef struct sv_operand sv_operand;

/* A node as it is run. */
struct sv_task {
    void (*run)(const sv_task *task, const sv_work *work); /* NULL: there is nothing to do */
    const sv_node *node;
    const sv_attributes *attributes;
    const uint32_t *inputs;
    uint32_t input_count, value;
    enum { SV_ROOM, SV_IN_PLACE, SV_VIEW } room; /* of its value: its own; its first input's, if */
                                                 /* nothing else needs that; always that */
    const void *own;                             /* constants: weights, tables */
    sv_operand *operand;                         /* what its matrices are multiplied with */
    size_t state;                                /* where it begins among the session's states */
    uint32_t scratch;                            /* a buffer, or SV_NONE */
    int streamed;
};

typedef struct {
    sv_machine machine;
    const sv_functions *functions;
    sv_value *values;
    sv_task *tasks; /* first those that depend on conditions alone */
    sv_buffer *buffers;
    uint32_t value_count, task_count, buffer_count, first_streamed, input_count, output;
    size_t states; /* floats */
    size_t weight_bytes;
    uint32_t hop, delay, features; /* as in sv_info; `hop` is that of a frame */
    uint32_t *hops, *delays;       /* of each input */
    int causal;
    uint32_t piece, block, most; /* frames of a causal model: that go together; that run at once; at most, */
                                 /* at the end of a waveform */
    uint32_t past;               /* samples before the present ones that filter banks of a stream see */
} sv_plan;

/* The memory of a session, as tasks see it. */
struct sv_work {
    const sv_plan *plan;
    char *memory;
    const size_t *offsets; /* of the buffers */
    float *states;
    const size_t *frames; /* of each input, now */
    size_t samples;       /* of the waveform, where filter banks know it as a whole */
    uint64_t position;    /* frames since the beginning of the stream */
    int *sound;           /* becomes 0 where a state is not finite */
};

/* The plan of a file, its weights packed. Fails with SV_BAD_FILE, naming the node, where shapes do not fit. */
sv_status sv_make_plan(sv_plan *plan, const sv_file *file, sv_machine machine, sv_pool *pool, sv_failure *failure);

void sv_run_tasks(const sv_plan *plan, const sv_work *work, uint32_t first, uint32_t last);

#ifdef SV_PROFILE
void sv_print_profile(const sv_plan *plan); /* the time that each kind of operation takes */
#endif

static inline size_t sv_frames(const sv_work *work, sv_clock clock) {
    return clock.source == SV_ALONE ? 1 : work->frames[clock.source] / clock.divide;
}

/* Frames of a value since the beginning of the stream. */
static inline uint64_t sv_position(const sv_work *work, sv_clock clock) { return work->position / clock.divide; }

static inline void *sv_room(const sv_work *work, uint32_t buffer) { return work->memory + work->offsets[buffer]; }

static inline float *sv_data(const sv_work *work, uint32_t value) {
    return sv_room(work, work->plan->values[value].buffer);
}

#endif
