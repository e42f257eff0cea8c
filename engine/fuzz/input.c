#include "input.h"

#include <stdlib.h>
#include <string.h>

#define PREAMBLE 20
#define BLOCK 65535 /* bytes of a stored block of deflate */

/* A zlib stream of the text in stored blocks; gives its length. */
static size_t wrap(uint8_t *to, const uint8_t *text, size_t size) {
    uint8_t *begin = to;
    *to++ = 0x78;
    *to++ = 0x01;
    do {
        uint16_t length = (uint16_t)(size < BLOCK ? size : BLOCK), complement = (uint16_t)~length;
        *to++ = length == size;
        memcpy(to, &length, 2);
        memcpy(to + 2, &complement, 2);
        memcpy(to + 4, text, length);
        to += 4 + length;
        text += length;
        size -= length;
    } while (size);
    memset(to, 0, 4); /* the checksum */
    return (size_t)(to + 4 - begin);
}

static uint8_t *join(const uint8_t *text, size_t length, const uint8_t *rest, size_t rest_size, size_t *size) {
    uint8_t *bytes = calloc(1, PREAMBLE + length + length / BLOCK * 5 + 16 + 8 + rest_size);
    if (!bytes)
        return NULL;
    uint32_t packed = (uint32_t)wrap(bytes + PREAMBLE, text, length), plain = (uint32_t)length;
    memcpy(bytes, "SOTT\2", 5);
    memcpy(bytes + 8, &packed, sizeof packed);
    memcpy(bytes + 12, &plain, sizeof plain);
    size_t end = ((size_t)PREAMBLE + packed + 7) / 8 * 8;
    if (rest_size)
        memcpy(bytes + end, rest, rest_size);
    *size = end + rest_size;
    return bytes;
}

uint8_t *fuzz_file(const uint8_t *input, size_t size, size_t *length) {
    if (size >= 4 && !memcmp(input, "SOTT", 4)) {
        uint8_t *bytes = malloc(size);
        if (bytes)
            memcpy(bytes, input, *length = size);
        return bytes;
    }
    const uint8_t *zero = size ? memchr(input, 0, size) : NULL;
    size_t text = zero ? (size_t)(zero - input) : size;
    return join(input, text, zero ? zero + 1 : input, zero ? size - 1 - text : 0, length);
}
