#include "codes.h"

#include <stdlib.h>
#include <string.h>

#include "rans.h"

#define CLASSES 16
enum { TRANSPOSED = 1, NEIGHBOURS = 2, HAS_CLASSES = 4 };

static sv_status fail(const sv_tensor *tensor, const char *expected, sv_failure *failure) {
    sv_status status = expected == SV_MEMORY ? SV_NO_MEMORY : SV_BAD_FILE;
    return sv_fail(failure, status, "%.80s: expected %s", tensor->entry->name, expected);
}

/* Bits of a code that are not part of its symbol. */
static uint32_t low_bits(uint32_t count) {
    uint32_t bits = 0;
    while (count > 2 && (count - 2) >> bits)
        bits++;
    return bits > 8 ? bits - 8 : 0;
}

/* The number of bytes of the classes, read into `classes`. */
static const char *read_classes(uint8_t *classes, size_t count, const uint8_t *bytes, size_t size, size_t *used) {
    sv_symbols symbols = {.rows = 1, .columns = count, .alphabet = CLASSES, .to8 = classes};
    return sv_read_symbols(&symbols, bytes, size, used);
}

/* Puts the low bits of the codes, which lie side by side, below the symbols. */
static const char *add_low_bits(sv_tensor *tensor, uint32_t low, uint32_t count, const uint8_t *bytes, size_t size) {
    uint64_t coded = 0, place = 0;
    for (size_t i = 0; i < tensor->entry->elements; i++)
        coded += tensor->codes16[i] > 0;
    if ((coded * low + 7) / 8 != size)
        return "as many bytes of low bits as there are codes";
    for (size_t i = 0; i < tensor->entry->elements; i++) {
        uint32_t symbol = tensor->codes16[i], bits = 0;
        if (!symbol)
            continue;
        for (uint32_t bit = 0; bit < low; bit++, place++)
            bits |= (uint32_t)(bytes[place / 8] >> place % 8 & 1) << bit;
        uint32_t code = 1 + ((symbol - 1) << low | bits);
        if (code >= count)
            return "codes below the number of values";
        tensor->codes16[i] = (uint16_t)code;
    }
    return NULL;
}

static const char *read_all(sv_tensor *tensor, uint8_t **classes, const uint8_t *bytes, size_t size,
                            const float *values, uint32_t count) {
    const sv_entry *entry = tensor->entry;
    size_t elements = entry->elements, at = 1, used;
    int wide = count > 256;
    if (!elements)
        return size ? "no bytes of no codes" : NULL;
    if (elements > (uint64_t)(size / 4) * SV_LONGEST_LANE)
        return "more bytes for so many elements";
    uint8_t flags = bytes[0];
    if (flags > (TRANSPOSED | NEIGHBOURS | HAS_CLASSES))
        return "flags of coded symbols that are known";
    if (wide || size > elements / 8 || elements > UINT32_MAX)
        tensor->found = NULL; /* more than a bit of each element: too many are not 0 */
    tensor->codes8 = wide || tensor->found ? NULL : malloc(elements);
    tensor->codes16 = wide ? malloc(elements * sizeof *tensor->codes16) : NULL;
    if (!tensor->codes8 && !tensor->codes16 && !tensor->found)
        return SV_MEMORY;

    uint32_t low = low_bits(count);
    size_t outer = entry->axes ? entry->shape[0] : 1;
    sv_symbols symbols = {.rows = outer,
                          .columns = elements / outer,
                          .transposed = flags & TRANSPOSED,
                          .alphabet = count < 2 ? 1 : 2 + ((count - 2) >> low),
                          .to8 = tensor->codes8,
                          .to16 = tensor->codes16,
                          .found = tensor->found};
    if (symbols.transposed)
        symbols.rows = symbols.columns, symbols.columns = outer;
    for (uint32_t s = 1; flags & NEIGHBOURS && s < symbols.alphabet; s++) {
        float value = values[1 + ((s - 1) << low)];
        symbols.kinds[s] = value > 0 ? 2 : value < 0;
    }
    if (flags & HAS_CLASSES) {
        size_t lines = symbols.rows + symbols.columns;
        symbols.classes = *classes = malloc(lines);
        if (!*classes)
            return SV_MEMORY;
        const char *expected = read_classes(*classes, lines, bytes + at, size - at, &used);
        if (expected)
            return expected;
        at += used;
    }
    const char *expected = sv_read_symbols(&symbols, bytes + at, size - at, &used);
    if (expected)
        return expected;
    at += used;
    if (low)
        return add_low_bits(tensor, low, count, bytes + at, size - at);
    return at == size ? NULL : "nothing after the codes";
}

sv_status sv_read_codes(sv_tensor *tensor, const uint8_t *bytes, size_t size, const float *values, uint32_t count,
                        sv_failure *failure) {
    uint8_t *classes = NULL;
    const char *expected = read_all(tensor, &classes, bytes, size, values, count);
    free(classes);
    return expected ? fail(tensor, expected, failure) : SV_OK;
}
