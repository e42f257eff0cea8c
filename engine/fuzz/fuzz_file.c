/* Fuzzing of the reader: any bytes are a file, or are refused. Built with SV_FUZZING, under which checksums fit.
 *
 * An input that begins as a file does is one. Any other is a header's JSON, a zero byte, and the bytes after the
 * header: so that a change of one byte of text stays one, which it would not within a compressed header. */
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define PREAMBLE 20
#define BLOCK 65535                      /* bytes of a stored block of deflate */

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void unpack_all(const sv_file *file)
{
    for (uint32_t i = 0; i < file->entry_count; i++) {
        sv_tensor tensor;
        sv_failure failure = {0};
        if (sv_unpack(&tensor, file->entries + i, &failure)) continue;
        volatile float sum = 0;
        for (size_t element = 0; element < tensor.entry->elements; element += 1 + tensor.entry->elements / 64)
            sum = sum + sv_element(&tensor, element);
        sv_forget(&tensor);
    }
}

static void read_file(const uint8_t *bytes, size_t size)
{
    sv_pool pool = {0};
    sv_failure failure = {0};
    sv_file file;
    if (!sv_read(&file, bytes, size, &pool, &failure)) unpack_all(&file);
    sv_release(&pool);
}

/* A zlib stream of the text in stored blocks; gives its length. */
static size_t wrap(uint8_t *to, const uint8_t *text, size_t size)
{
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
    memset(to, 0, 4);                    /* the checksum */
    return (size_t)(to + 4 - begin);
}

static void read_parts(const uint8_t *text, size_t length, const uint8_t *rest, size_t rest_size)
{
    uint8_t *bytes = calloc(1, PREAMBLE + length + length / BLOCK * 5 + 16 + 8 + rest_size);
    if (!bytes) return;
    uint32_t packed = (uint32_t)wrap(bytes + PREAMBLE, text, length), plain = (uint32_t)length;
    memcpy(bytes, "SOTT\2", 5);
    memcpy(bytes + 8, &packed, sizeof packed);
    memcpy(bytes + 12, &plain, sizeof plain);
    size_t end = ((size_t)PREAMBLE + packed + 7) / 8 * 8;
    if (rest_size) memcpy(bytes + end, rest, rest_size);
    read_file(bytes, end + rest_size);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    const uint8_t *zero = size ? memchr(input, 0, size) : NULL;
    if (size >= 4 && !memcmp(input, "SOTT", 4)) read_file(input, size);
    else if (zero) read_parts(input, (size_t)(zero - input), zero + 1, size - 1 - (size_t)(zero - input));
    else if (size) read_parts(input, size, input, 0);
    return 0;
}
