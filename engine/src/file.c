#include "header.h"

#include <string.h>

#include "inflate.h"

#define PREAMBLE 20
#define VERSION 2 /* the latest that is read */
#define MAX_JSON (1u << 22)

/* What lies before the header. */
typedef struct {
    uint32_t version, zero, packed, plain, checksum;
} preamble;

static uint32_t number_at(const uint8_t *bytes, size_t size) {
    uint32_t number = 0;
    memcpy(&number, bytes, size);
    return number;
}

static uint64_t aligned(uint64_t length) { return (length + 7) / 8 * 8; }

/* ---- a part of the file ------------------------------------------------------------------------------------ */

/* Checks a part that begins at `at` and its alignment, and steps over both. */
static sv_status check_part(const uint8_t *bytes, size_t size, size_t *at, uint64_t length, uint64_t checksum,
                            const char *name, sv_failure *failure) {
    uint64_t end = aligned(*at + length);
    if (end > size)
        return sv_fail(failure, SV_BAD_FILE, "cut short: expected %llu bytes or more, got %zu", (unsigned long long)end,
                       size);
    uint32_t found = sv_crc32(bytes + *at, (size_t)length);
    if (checksum > UINT32_MAX || !sv_checksum_fits((uint32_t)checksum, found))
        return sv_fail(failure, SV_BAD_FILE, "%.80s: damaged, expected the checksum %08llx, got %08x", name,
                       (unsigned long long)checksum, found);
    for (*at += (size_t)length; *at < end; ++*at)
        if (bytes[*at])
            return sv_fail(failure, SV_BAD_FILE, "%.80s: damaged, its alignment is not zero", name);
    return SV_OK;
}

/* The text of the header, and where the tensors begin. */
static sv_status read_text(char **text, preamble *head, const uint8_t *bytes, size_t size, size_t *at, sv_pool *scratch,
                           sv_failure *failure) {
    if (size < 4 || memcmp(bytes, "SOTT", 4))
        return sv_fail(failure, SV_BAD_FILE, "expected a .sotto file, which begins with SOTT");
    if (size < PREAMBLE)
        return sv_fail(failure, SV_BAD_FILE, "cut short: expected %d bytes or more, got %zu", PREAMBLE, size);
    *head = (preamble){number_at(bytes + 4, 2), number_at(bytes + 6, 2), number_at(bytes + 8, 4),
                       number_at(bytes + 12, 4), number_at(bytes + 16, 4)};
    if (head->version < 1 || head->version > VERSION)
        return sv_fail(failure, SV_BAD_FILE, "expected format version 1 to %d, got %u: of a later sottovoce?", VERSION,
                       head->version);
    if (head->zero)
        return sv_fail(failure, SV_BAD_FILE, "header: expected 0 after the version, got %u", head->zero);
    if (head->plain > MAX_JSON)
        return sv_fail(failure, SV_BAD_FILE, "header: expected %u bytes of JSON at most, got %u", MAX_JSON,
                       head->plain);
    *at = PREAMBLE;
    if (check_part(bytes, size, at, head->packed, head->checksum, "header", failure))
        return failure->status;
    *text = sv_take(scratch, head->plain, 1);
    if (!*text)
        return sv_fail(failure, SV_NO_MEMORY, "header: no memory for %u bytes", head->plain);
    if (!sv_inflate_zlib((uint8_t *)*text, head->plain, bytes + PREAMBLE, head->packed))
        return sv_fail(failure, SV_BAD_FILE, "header: does not unpack to %u bytes of JSON", head->plain);
    return SV_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static sv_status read_entries(sv_file *file, const sv_json *tensors, sv_pool *pool, sv_failure *failure) {
    if (tensors->kind != SV_JSON_OBJECT)
        return sv_fail(failure, SV_BAD_FILE, "header: expected tensors to be an object");
    file->entry_count = tensors->count;
    file->entries = sv_take(pool, file->entry_count, sizeof *file->entries);
    if (!file->entries)
        return sv_fail(failure, SV_NO_MEMORY, "header: no memory for %u tensors", file->entry_count);
    const sv_json *key = tensors + 1;
    size_t elements = 0;
    for (uint32_t i = 0; i < file->entry_count; i++, key = sv_json_next(key + 1)) {
        const char *name = sv_keep(pool, key->of.text);
        if (!name)
            return sv_fail(failure, SV_NO_MEMORY, "header: no memory for names");
        if (sv_read_entry(file->entries + i, name, key + 1, failure))
            return failure->status;
        elements += file->entries[i].elements;
        if (elements > SV_ELEMENTS)
            return sv_fail(failure, SV_BAD_FILE, "expected %u elements in all at most, got more", SV_ELEMENTS);
    }
    return SV_OK;
}

/* Finds the bytes of the tensors, from `at` on, and that nothing follows them. */
static sv_status lay_out(sv_file *file, const sv_json *tensors, const uint8_t *bytes, size_t size, size_t at,
                         sv_failure *failure) {
    const sv_json *key = tensors + 1;
    for (uint32_t i = 0; i < file->entry_count; i++, key = sv_json_next(key + 1)) {
        sv_entry *entry = file->entries + i;
        uint64_t length = (uint64_t)sv_whole(sv_json_at(key + 1, "bytes"));
        uint64_t checksum = (uint64_t)sv_whole(sv_json_at(key + 1, "crc32"));
        entry->bytes = bytes + at;
        if (check_part(bytes, size, &at, length, checksum, entry->name, failure))
            return failure->status;
        entry->size = (size_t)length;
    }
    return at == size ? SV_OK : sv_fail(failure, SV_BAD_FILE, "added to: expected %zu bytes, got %zu", at, size);
}

static sv_status read_all(sv_file *file, const uint8_t *bytes, size_t size, sv_pool *pool, sv_pool *scratch,
                          sv_failure *failure) {
    char *text = NULL;
    preamble head = {0};
    size_t at = 0;
    const sv_json *header = NULL;
    if (read_text(&text, &head, bytes, size, &at, scratch, failure))
        return failure->status;
    if (sv_parse_json(&header, text, head.plain, scratch, failure))
        return failure->status;
    if (!sv_has_keys(header, "graph tensors meta", ""))
        return sv_fail(failure, SV_BAD_FILE, "header: expected the keys graph tensors meta");
    const sv_json *tensors = sv_json_at(header, "tensors");
    file->version = head.version;
    if (read_entries(file, tensors, pool, failure))
        return failure->status;
    if (sv_read_graph(file, sv_json_at(header, "graph"), pool, scratch, failure))
        return failure->status;
    if (sv_read_meta(file, sv_json_at(header, "meta"), failure))
        return failure->status;
    return lay_out(file, tensors, bytes, size, at, failure);
}

sv_status sv_read(sv_file *file, const void *bytes, size_t size, sv_pool *pool, sv_failure *failure) {
    sv_pool scratch = {NULL, 0};
    *file = (sv_file){.version = 0};
    sv_status status = read_all(file, bytes, size, pool, &scratch, failure);
    sv_release(&scratch);
    return status;
}
