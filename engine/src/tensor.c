#include <stdlib.h>
#include <string.h>

#include "codes.h"
#include "inflate.h"

#define DEFLATED 1032 /* bytes that one of a deflate stream can stand for, at most */

/* What is left of a tensor's bytes. */
typedef struct {
    sv_tensor *tensor;
    const uint8_t *next;
    size_t left;
    sv_failure *failure;
} reading;

static sv_status fail(const reading *r, sv_status status, const char *expected) {
    return sv_fail(r->failure, status, "%.80s: expected %s", r->tensor->entry->name, expected);
}

static void step(reading *r, size_t bytes) {
    r->next += bytes;
    r->left -= bytes;
}

/* ---- floats ---------------------------------------------------------------------------------------------- */

/* The float32 of an IEEE 754 half. */
static uint32_t widened(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3FF;
    if (exponent == 31)
        return sign | 0x7F800000 | mantissa << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | mantissa << 13;
    if (!mantissa)
        return sign;
    for (exponent = 113; !(mantissa & 0x400); exponent--)
        mantissa <<= 1;
    return sign | exponent << 23 | (mantissa & 0x3FF) << 13;
}

/* One byte of every float, which goes where it belongs among those of `width` bytes. */
static sv_status read_plane(reading *r, uint8_t *to, size_t count, size_t width, uint8_t *inflated) {
    uint32_t length;
    if (r->left < sizeof length)
        return fail(r, SV_BAD_FILE, "more planes of floats");
    memcpy(&length, r->next, sizeof length);
    step(r, sizeof length);
    if (length > r->left)
        return fail(r, SV_BAD_FILE, "more bytes of a plane of floats");
    if (length != count && !sv_inflate(inflated, count, r->next, length))
        return fail(r, SV_BAD_FILE, "a plane that inflates to one byte of every float");
    const uint8_t *plane = length == count ? r->next : inflated;
    for (size_t i = 0; i < count; i++)
        to[i * width] = plane[i];
    step(r, length);
    return SV_OK;
}

static sv_status read_planes(reading *r, uint8_t *to, size_t count, size_t width) {
    uint8_t *inflated = malloc(count + !count);
    if (!inflated)
        return fail(r, SV_NO_MEMORY, "memory");
    sv_status status = SV_OK;
    for (size_t byte = 0; byte < width && !status; byte++)
        status = read_plane(r, to + byte, count, width, inflated);
    free(inflated);
    return status;
}

/* So many floats, of `width` bytes in the file, into memory of their own. */
static sv_status read_floats(reading *r, float **floats, size_t count, size_t width) {
    int planes = r->tensor->entry->planes;
    if (planes ? count / DEFLATED > r->left : count * (uint64_t)width > r->left)
        return fail(r, SV_BAD_FILE, "more bytes for so many floats");
    uint8_t *bytes = malloc(count * sizeof(float) + !count);
    *floats = (float *)(void *)bytes;
    if (!bytes)
        return fail(r, SV_NO_MEMORY, "memory");
    if (planes) {
        if (read_planes(r, bytes, count, width))
            return r->failure->status;
    } else {
        memcpy(bytes, r->next, count * width);
        step(r, count * width);
    }
    for (size_t i = count; width == 2 && i-- > 0;) { /* from the last one: they widen where they lie */
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        uint32_t whole = widened(half);
        memcpy(bytes + 4 * i, &whole, sizeof whole);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, bytes + 4 * i, sizeof bits);
        if ((bits & 0x7F800000) == 0x7F800000)
            return fail(r, SV_BAD_FILE, "finite values, got NaN or infinity");
    }
    return SV_OK;
}

/* ---- forms ----------------------------------------------------------------------------------------------- */

static sv_status read_codes(reading *r, const float *values, uint32_t count) {
    return sv_read_codes(r->tensor, r->next, r->left, values, count, r->failure);
}

static sv_status unpack_dense(reading *r) {
    const sv_entry *entry = r->tensor->entry;
    size_t width = entry->form == SV_DENSE32 ? 4 : 2;
    if (read_floats(r, &r->tensor->floats, entry->elements, width))
        return r->failure->status;
    return r->left ? fail(r, SV_BAD_FILE, "nothing after the floats") : SV_OK;
}

static sv_status spread(reading *r, const float *stored) {
    static const float kinds[] = {0, -1}; /* of kind 0 and 1, as the codes themselves are */
    sv_tensor *tensor = r->tensor;
    size_t elements = tensor->entry->elements, count = 0;
    if (read_codes(r, kinds, 2))
        return r->failure->status;
    for (size_t i = 0; i < elements; i++)
        count += tensor->codes8[i];
    if (count != tensor->entry->values)
        return fail(r, SV_BAD_FILE, "as many places as values");
    tensor->floats = calloc(elements + !elements, sizeof *tensor->floats);
    if (!tensor->floats)
        return fail(r, SV_NO_MEMORY, "memory");
    for (size_t i = 0; i < elements; i++)
        if (tensor->codes8[i])
            tensor->floats[i] = *stored++;
    free(tensor->codes8);
    tensor->codes8 = NULL;
    return SV_OK;
}

static sv_status unpack_sparse(reading *r) {
    float *stored = NULL;
    sv_status status = read_floats(r, &stored, r->tensor->entry->values, 4);
    if (!status)
        status = spread(r, stored);
    free(stored);
    return status;
}

static sv_status unpack_codebook(reading *r) {
    sv_tensor *tensor = r->tensor;
    uint32_t zero;
    tensor->table_size = tensor->entry->values;
    if (read_floats(r, &tensor->table, tensor->table_size, 4))
        return r->failure->status;
    memcpy(&zero, tensor->table, sizeof zero);
    if (zero)
        return fail(r, SV_BAD_FILE, "a table that begins with +0.0");
    return read_codes(r, tensor->table, tensor->table_size);
}

static sv_status unpack_levels(reading *r) {
    sv_tensor *tensor = r->tensor;
    uint32_t largest = tensor->entry->largest, found = 0;
    if (read_floats(r, &tensor->scales, tensor->entry->scales, 4))
        return r->failure->status;
    tensor->table_size = 2 * largest + 1;
    tensor->table = calloc(tensor->table_size, sizeof *tensor->table);
    if (!tensor->table)
        return fail(r, SV_NO_MEMORY, "memory");
    for (uint32_t i = 1; i <= largest; i++) {
        tensor->table[i] = (float)i - (float)(largest + 1);
        tensor->table[largest + i] = (float)i;
    }
    if (read_codes(r, tensor->table, tensor->table_size))
        return r->failure->status;
    for (size_t i = 0; i < tensor->entry->elements; i++)
        found |= tensor->codes8[i] == 1 || tensor->codes8[i] == 2 * largest;
    return found || !largest ? SV_OK : fail(r, SV_BAD_FILE, "a level as large as the largest");
}

static sv_status unpack(sv_tensor *tensor, sv_failure *failure) {
    const sv_entry *entry = tensor->entry;
    reading r = {tensor, entry->bytes, entry->size, failure};
    sv_status status;
    if (entry->form == SV_SPARSE)
        status = unpack_sparse(&r);
    else if (entry->form == SV_CODEBOOK)
        status = unpack_codebook(&r);
    else if (entry->form == SV_LEVELS)
        status = unpack_levels(&r);
    else
        status = unpack_dense(&r);
    if (status)
        sv_forget(tensor);
    return status;
}

sv_status sv_unpack(sv_tensor *tensor, const sv_entry *entry, sv_failure *failure) {
    *tensor = (sv_tensor){.entry = entry};
    return unpack(tensor, failure);
}

sv_status sv_unpack_sparsely(sv_tensor *tensor, const sv_entry *entry, sv_found *found, sv_failure *failure) {
    *tensor = (sv_tensor){.entry = entry, .found = entry->form == SV_CODEBOOK ? found : NULL};
    found->count = found->room = 0; /* what the last one needed more is given back as this one grows */
    return unpack(tensor, failure);
}

void sv_forget(sv_tensor *tensor) {
    free(tensor->floats);
    free(tensor->codes8);
    free(tensor->codes16);
    free(tensor->table);
    free(tensor->scales);
    *tensor = (sv_tensor){.entry = NULL};
}

float sv_element(const sv_tensor *tensor, size_t index) {
    if (tensor->floats)
        return tensor->floats[index];
    float value = tensor->table[tensor->codes8 ? tensor->codes8[index] : tensor->codes16[index]];
    if (!tensor->scales)
        return value;
    const sv_entry *entry = tensor->entry;
    size_t inner = 1;
    for (uint32_t axis = entry->axis + 1; axis < entry->axes; axis++)
        inner *= entry->shape[axis];
    float scale = tensor->scales[entry->scales > 1 ? index / inner % entry->scales : 0];
    return value * scale + 0.0f; /* not -0 */
}
