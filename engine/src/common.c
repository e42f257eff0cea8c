#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

/* ---- memory ---------------------------------------------------------------------------------------------- */

/* Stands at the beginning of what was allocated; the memory that it is for begins at the next multiple of ALIGNMENT. */
struct sv_block {
    struct sv_block *before;
};

void *sv_take(sv_pool *pool, size_t count, size_t size) {
    const size_t head = sizeof(struct sv_block) + ALIGNMENT;
    if (size && count > (SIZE_MAX - head) / size)
        return NULL;
    struct sv_block *block = calloc(1, head + count * size);
    if (!block)
        return NULL;
    block->before = pool->last;
    pool->last = block;
    pool->bytes += count * size;
    char *begin = (char *)(block + 1);
    return begin + (ALIGNMENT - (uintptr_t)begin % ALIGNMENT) % ALIGNMENT;
}

const char *sv_keep(sv_pool *pool, const char *text) {
    char *kept = sv_take(pool, strlen(text) + 1, 1);
    return kept ? strcpy(kept, text) : NULL;
}

void sv_release(sv_pool *pool) {
    while (pool->last) {
        struct sv_block *block = pool->last;
        pool->last = block->before;
        free(block);
    }
    pool->bytes = 0;
}

/* ---- errors ---------------------------------------------------------------------------------------------- */

size_t sv_character(const uint8_t *bytes, size_t size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!size)
        return 0;
    uint8_t first = bytes[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC0 || first >= 0xF8 || length > size)
        return 0;
    uint32_t point = first & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] >> 6 != 2)
            return 0;
        point = point << 6 | (bytes[i] & 63u);
    }
    int surrogate = point >> 11 == 0xD800 >> 11;
    return point >= least[length] && point <= 0x10FFFF && !surrogate ? length : 0;
}

/* Names may come from a damaged file: what no terminal should get becomes a question mark. */
static void make_printable(char *text) {
    uint8_t *bytes = (uint8_t *)text;
    for (size_t i = 0, size = strlen(text); i < size;) {
        size_t length = sv_character(bytes + i, size - i);
        int control = bytes[i] < 0x20 || bytes[i] == 0x7F || (bytes[i] == 0xC2 && bytes[i + 1] < 0xA0);
        if (!length || control)
            memset(bytes + i, '?', length ? length : 1);
        i += length ? length : 1;
    }
}

sv_status sv_fail(sv_failure *failure, sv_status status, const char *format, ...) {
    if (failure->status != SV_OK)
        return failure->status;
    va_list values;
    va_start(values, format);
    vsnprintf(failure->text, sizeof failure->text, format, values);
    va_end(values);
    make_printable(failure->text);
    failure->status = status;
    return status;
}
