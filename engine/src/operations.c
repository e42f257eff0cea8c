#include "header.h"

#include <string.h>

#define MAX_CHANNEL (1 << 16)

/* ---- the operations -------------------------------------------------------------------------------------- */

/* clang-format off */
const char *const sv_op_names[SV_OPS] = {
    "stft", "istft", "frames", "overlap_add", "fbank", "magnitude", "power_law", "running_rms", "complex_mul", "add",
    "sub", "mul", "div", "affine", "scale_shift", "layer_norm", "global_norm", "time_norm", "quantize",
    "quantize_dynamic", "log1p", "relu", "sigmoid", "elu", "tanh", "log_softmax", "prelu", "concat", "stack", "slice",
    "take", "transpose", "flatten", "unflatten", "unsqueeze", "time_mean", "reverse", "fold", "linear", "conv1d",
    "conv2d", "conv_transpose2d", "attention", "lstm", "gru",
};
/* clang-format on */

const sv_operation sv_operations[SV_OPS] = {
    [SV_STFT] = {1, "", "n_fft hop window", ""},
    [SV_ISTFT] = {1, "", "n_fft hop window", ""},
    [SV_FRAMES] = {1, "", "n_fft hop window", ""},
    [SV_OVERLAP_ADD] = {1, "", "n_fft hop window", ""},
    [SV_FBANK] = {1, "", "n_fft hop bins rate low high", ""},
    [SV_MAGNITUDE] = {1, "", "", ""},
    [SV_POWER_LAW] = {1, "", "power", ""},
    [SV_RUNNING_RMS] = {1, "", "decay floor window_energy", ""},
    [SV_COMPLEX_MUL] = {2, "", "", ""},
    [SV_ADD] = {2, "", "", ""},
    [SV_SUB] = {2, "", "", ""},
    [SV_MUL] = {2, "", "", ""},
    [SV_DIV] = {2, "", "", ""},
    [SV_AFFINE] = {1, "", "scale shift", ""},
    [SV_SCALE_SHIFT] = {1, "scale shift", "", ""},
    [SV_LAYER_NORM] = {1, "weight bias", "eps", ""},
    [SV_GLOBAL_NORM] = {1, "weight bias", "eps", ""},
    [SV_TIME_NORM] = {1, "", "eps", ""},
    [SV_QUANTIZE] = {1, "", "bits low high", ""},
    [SV_QUANTIZE_DYNAMIC] = {1, "", "bits", ""},
    [SV_LOG1P] = {1, "", "", ""},
    [SV_RELU] = {1, "", "", ""},
    [SV_SIGMOID] = {1, "", "", ""},
    [SV_ELU] = {1, "", "", ""},
    [SV_TANH] = {1, "", "", ""},
    [SV_LOG_SOFTMAX] = {1, "", "", ""},
    [SV_PRELU] = {1, "weight", "", ""},
    [SV_CONCAT] = {0, "", "", ""},
    [SV_STACK] = {0, "", "", ""},
    [SV_SLICE] = {1, "", "start stop", ""},
    [SV_TAKE] = {1, "", "channels", ""},
    [SV_TRANSPOSE] = {1, "", "", ""},
    [SV_FLATTEN] = {1, "", "", ""},
    [SV_UNFLATTEN] = {1, "", "size", ""},
    [SV_UNSQUEEZE] = {1, "", "", ""},
    [SV_TIME_MEAN] = {1, "", "", ""},
    [SV_REVERSE] = {1, "", "", ""},
    [SV_FOLD] = {1, "", "size", ""},
    [SV_LINEAR] = {1, "weight bias", "", "bias"},
    [SV_CONV1D] = {1, "weight bias", "dilation groups after", "after"},
    [SV_CONV2D] = {1, "weight bias", "stride pad", ""},
    [SV_CONV_TRANSPOSE2D] = {1, "weight bias", "stride pad extra", ""},
    [SV_ATTENTION] = {3, "position content_bias position_bias", "heads before after chunk", "before after chunk"},
    [SV_LSTM] = {1, "weight_ih weight_hh bias_ih bias_hh", "hidden", ""},
    [SV_GRU] = {1, "weight_ih weight_hh bias_ih bias_hh", "hidden", ""},
};

/* ---- attributes ------------------------------------------------------------------------------------------ */

#define WHOLE(name, low, high) {#name, 1, offsetof(sv_attributes, name), low, high}
#define REAL(name, low, high) {#name, 0, offsetof(sv_attributes, name), low, high}

/* clang-format off */
static const struct range { const char *name; int whole; size_t at; double low, high; } ranges[] = {
    WHOLE(n_fft, 1, 65536), WHOLE(hop, 1, 65536), WHOLE(hidden, 1, 65536), WHOLE(size, 1, 65536),
    WHOLE(dilation, 1, 65536), WHOLE(groups, 1, 65536), WHOLE(stride, 1, 65536), WHOLE(heads, 1, 65536),
    WHOLE(start, 0, 65536), WHOLE(stop, 0, 65536), WHOLE(pad, 0, 65536), WHOLE(extra, 0, 65536),
    WHOLE(before, 0, 65536), WHOLE(after, 0, 65536), WHOLE(chunk, 1, 65536), WHOLE(bins, 1, 1024),
    WHOLE(rate, 1, 1 << 20), WHOLE(bits, 1, 16),
    REAL(low, -1e30, 1e30), REAL(high, -1e30, 1e30), REAL(decay, 1e-30, 1), REAL(floor, 1e-30, 1e30),
    REAL(window_energy, 1e-30, 1e30), REAL(eps, 1e-30, 1e30), REAL(scale, -1e30, 1e30), REAL(shift, -1e30, 1e30),
    REAL(power, 0.01, 100),
};
/* clang-format on */

static sv_status read_channels(sv_attributes *to, const char *node, const sv_json *list, sv_pool *pool,
                               sv_failure *failure) {
    to->channel_count = list->kind == SV_JSON_LIST ? list->count : 0;
    to->channels = sv_take(pool, to->channel_count, sizeof *to->channels);
    if (!to->channels)
        return sv_fail(failure, SV_NO_MEMORY, "graph: %.80s: no memory for channels", node);
    const sv_json *value = list + 1;
    int fits = to->channel_count > 0;
    for (uint32_t i = 0; fits && i < to->channel_count; i++, value = sv_json_next(value)) {
        double number = value->kind == SV_JSON_WHOLE ? value->of.number : -2;
        fits = number >= -1 && number <= MAX_CHANNEL;
        to->channels[i] = fits && number >= 0 ? (uint32_t)number : SV_NO_CHANNEL;
    }
    if (fits)
        return SV_OK;
    return sv_fail(failure, SV_BAD_FILE, "graph: %.80s: expected one or more channels of -1 to %d", node, MAX_CHANNEL);
}

static sv_status read_attribute(sv_attributes *to, const char *node, const sv_json *key, sv_pool *pool,
                                sv_failure *failure) {
    const char *name = key->of.text;
    const sv_json *value = key + 1;
    if (!strcmp(name, "channels"))
        return read_channels(to, node, value, pool, failure);
    if (!strcmp(name, "window")) {
        int window = value->kind == SV_JSON_TEXT ? sv_word("hamming hann_sqrt rect", value->of.text) : -1;
        to->window = window < 0 ? SV_RECT : (sv_window)window;
        return window >= 0
            ? SV_OK
            : sv_fail(failure, SV_BAD_FILE, "graph: %.80s: expected the window hamming, hann_sqrt or rect", node);
    }
    const struct range *range = ranges;
    while (strcmp(range->name, name))
        range++; /* it is there: the operation has it */
    int number = value->kind == SV_JSON_WHOLE || (value->kind == SV_JSON_REAL && !range->whole);
    if (!number || !(value->of.number >= range->low && value->of.number <= range->high))
        return sv_fail(failure, SV_BAD_FILE, "graph: %.80s: expected %s to be a %s of %g to %g", node, name,
                       range->whole ? "whole number" : "number", range->low, range->high);
    char *field = (char *)to + range->at;
    uint32_t whole = range->whole ? (uint32_t)value->of.number : 0;
    if (range->whole)
        memcpy(field, &whole, sizeof whole);
    else
        memcpy(field, &value->of.number, sizeof value->of.number);
    return SV_OK;
}

sv_status sv_read_attributes(sv_node *node, const sv_json *object, sv_pool *pool, sv_failure *failure) {
    const sv_operation *op = sv_operations + node->op;
    if (!sv_has_keys(object, op->attributes, op->optional))
        return sv_fail(failure, SV_BAD_FILE, "graph: %.80s: expected the attributes (%s) of %s", node->name,
                       op->attributes, sv_op_names[node->op]);
    if (node->op == SV_ATTENTION)
        node->attributes.before = node->attributes.after = SV_NO_LIMIT;
    const sv_json *key = object + 1;
    for (uint32_t i = 0; i < object->count; i++, key = sv_json_next(key + 1))
        if (read_attribute(&node->attributes, node->name, key, pool, failure))
            return failure->status;
    return SV_OK;
}

/* ---- what must hold of attributes and tensors together --------------------------------------------------- */

static int is_vector(const sv_entry *of, uint32_t size) { return of->axes == 1 && of->shape[0] == size; }

static int is_matrix(const sv_entry *of, uint32_t rows, uint32_t columns) {
    return of->axes == 2 && of->shape[0] == rows && of->shape[1] == columns;
}

static int fits_conv1d(const sv_attributes *of, const sv_entry *weight, const sv_entry *bias) {
    return weight->axes == 3 && weight->elements && is_vector(bias, weight->shape[0])
        && weight->shape[0] % of->groups == 0 && of->after <= (uint64_t)(weight->shape[2] - 1) * of->dilation;
}

static int fits_attention(const sv_attributes *of, const sv_entry *const *tensors) {
    const sv_entry *position = tensors[0];
    if (of->chunk && (of->before == SV_NO_LIMIT || of->after != SV_NO_LIMIT))
        return 0;
    return position->axes == 2 && position->shape[1] % 2 == 0 && position->shape[0] % of->heads == 0
        && is_vector(tensors[1], position->shape[0]) && is_vector(tensors[2], position->shape[0]);
}

static int fits_recurrent(const sv_attributes *of, const sv_entry *const *tensors, uint32_t gates) {
    uint32_t rows = gates * of->hidden;
    return tensors[0]->axes == 2 && tensors[0]->shape[0] == rows && is_matrix(tensors[1], rows, of->hidden)
        && is_vector(tensors[2], rows) && is_vector(tensors[3], rows);
}

int sv_fits(const sv_node *node) {
    const sv_attributes *of = &node->attributes;
    const sv_entry *first = node->tensors[0], *second = node->tensors[1];
    switch (node->op) {
    case SV_FBANK:
        return of->low >= 0 && of->low < of->high && of->high <= of->rate / 2.0;
    case SV_SLICE:
        return of->start < of->stop;
    case SV_QUANTIZE:
        return of->low <= of->high;
    case SV_PRELU:
        return first->axes == 1;
    case SV_SCALE_SHIFT:
    case SV_LAYER_NORM:
    case SV_GLOBAL_NORM:
        return first->axes == 1 && is_vector(second, first->shape[0]);
    case SV_LINEAR:
        return first->axes == 2 && (!second || is_vector(second, first->shape[0]));
    case SV_CONV1D:
        return fits_conv1d(of, first, second);
    case SV_CONV2D:
        return first->axes == 4 && first->elements && is_vector(second, first->shape[0]) && of->pad < first->shape[3];
    case SV_CONV_TRANSPOSE2D:
        return first->axes == 4 && first->elements && is_vector(second, first->shape[1]) && of->pad < first->shape[3]
            && of->extra < of->stride;
    case SV_ATTENTION:
        return fits_attention(of, node->tensors);
    case SV_LSTM:
        return fits_recurrent(of, node->tensors, 4);
    case SV_GRU:
        return fits_recurrent(of, node->tensors, 3);
    default:
        return 1;
    }
}
