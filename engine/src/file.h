/* A .sotto file (docs/format.md), read without trust: every size is checked before it is used. */
#ifndef SV_FILE_H
#define SV_FILE_H

#include "common.h"

#define SV_AXES 8
#define SV_ROLES 4 /* tensors of one operation, at most */

/* A tensor as the file tells of it; `bytes` points into the file. */
typedef struct {
    const char *name;
    uint32_t axes, shape[SV_AXES];
    size_t elements;
    enum { SV_DENSE32, SV_DENSE16, SV_SPARSE, SV_CODEBOOK, SV_LEVELS } form;
    uint32_t values;                /* of the table, or stored floats of a sparse tensor */
    uint32_t largest, axis, scales; /* levels only; `scales` is 1 or shape[axis] */
    int planes;
    const uint8_t *bytes;
    size_t size;
} sv_entry;

/* The codes that are not 0 and the elements that have them, as they come; room for them that tensors use in turn. */
typedef struct {
    uint32_t *elements;
    uint8_t *codes;
    size_t count, room;
} sv_found;

/* Its elements in C order: `floats`, or else table[code], times scale of the element's index along `axis`. */
typedef struct {
    const sv_entry *entry;
    float *floats;
    uint8_t *codes8; /* of a table of up to 256 values */
    uint16_t *codes16;
    sv_found *found; /* instead of either: all others are 0 */
    float *table;    /* [entry->values], table[0] = 0; of levels: whole numbers, 2 largest + 1 of them */
    uint32_t table_size;
    float *scales; /* [entry->scales], levels only */
} sv_tensor;

/* In the order of the table in docs/format.md. */
/* clang-format off */
typedef enum {
    SV_STFT, SV_ISTFT, SV_FRAMES, SV_OVERLAP_ADD, SV_FBANK, SV_MAGNITUDE, SV_POWER_LAW, SV_RUNNING_RMS, SV_COMPLEX_MUL,
    SV_ADD, SV_SUB, SV_MUL, SV_DIV, SV_AFFINE, SV_SCALE_SHIFT, SV_LAYER_NORM, SV_GLOBAL_NORM, SV_TIME_NORM,
    SV_QUANTIZE, SV_QUANTIZE_DYNAMIC, SV_LOG1P, SV_RELU, SV_SIGMOID, SV_ELU, SV_TANH, SV_LOG_SOFTMAX, SV_PRELU,
    SV_CONCAT, SV_STACK, SV_SLICE, SV_TAKE, SV_TRANSPOSE, SV_FLATTEN, SV_UNFLATTEN, SV_UNSQUEEZE, SV_TIME_MEAN,
    SV_REVERSE, SV_FOLD, SV_LINEAR, SV_CONV1D, SV_CONV2D, SV_CONV_TRANSPOSE2D, SV_ATTENTION, SV_LSTM, SV_GRU,
    SV_OPS
} sv_op;
/* clang-format on */

typedef enum { SV_HAMMING, SV_HANN_SQRT, SV_RECT } sv_window;

/* All attributes that any operation has; one that a node does not have is 0. */
typedef struct {
    uint32_t n_fft, hop, bins, rate, bits, start, stop, size, dilation, groups, stride, pad, extra, heads, hidden;
    uint32_t before, after;            /* of attention: SV_NO_LIMIT where there is none */
    uint32_t chunk;                    /* 0: there is none */
    uint32_t *channels, channel_count; /* of take; a channel that is none is SV_NO_CHANNEL */
    sv_window window;
    double low, high, decay, floor, window_energy, eps, scale, shift, power;
} sv_attributes;

#define SV_NO_LIMIT UINT32_MAX
#define SV_NO_CHANNEL UINT32_MAX

/* A value is known by a number: the inputs of the graph come first, then the nodes in their order. */
typedef struct {
    const char *name;
    sv_op op;
    uint32_t *inputs, input_count;
    const sv_entry *tensors[SV_ROLES]; /* ordered as in docs/format.md; NULL for one that may be missing */
    sv_attributes attributes;
} sv_node;

typedef struct {
    uint32_t version, sample_rate;
    uint32_t input_count, output, node_count, entry_count; /* `output` is the value of the first of the outputs */
    const char **inputs;
    sv_node *nodes;
    sv_entry *entries;
} sv_file;

extern const char *const sv_op_names[SV_OPS];

/* What the file holds, checked as docs/format.md asks but for the tensors' own bytes, whose checksums are. All in
 * `pool`, entries point into `bytes`. */
sv_status sv_read(sv_file *file, const void *bytes, size_t size, sv_pool *pool, sv_failure *failure);

/* Unpacks a tensor; sv_forget frees it again. On failure nothing is kept. */
sv_status sv_unpack(sv_tensor *tensor, const sv_entry *entry, sv_failure *failure);
void sv_forget(sv_tensor *tensor);
float sv_element(const sv_tensor *tensor, size_t index); /* not of what is `found` */

/* The same, but of a codebook that is nearly all zeros only those elements are `found` that are not: most of the memory
 * that opening takes would go to the zeros. Until the next is unpacked; the caller frees the room in the end. */
sv_status sv_unpack_sparsely(sv_tensor *tensor, const sv_entry *entry, sv_found *found, sv_failure *failure);

#endif
