#include "header.h"

#include <string.h>

#define BITS 8          /* most of a level */
#define TABLE (1 << 16) /* most values of a codebook */

/* The keys of a form, and those that may be missing. */
static const struct {
    const char *name, *keys, *optional;
} forms[] = {
    {"dense", "form shape bytes crc32 type planes", "planes"},
    {"sparse", "form shape bytes crc32 values planes", "planes"},
    {"codebook", "form shape bytes crc32 values", ""},
    {"levels", "form shape bytes crc32 bits largest axis", "axis"},
};
enum { DENSE, SPARSE, CODEBOOK, LEVELS, FORMS };

int64_t sv_whole(const sv_json *value) {
    int is = value->kind == SV_JSON_WHOLE && value->of.number >= 0 && value->of.number < (double)(1ull << 40);
    return is ? (int64_t)value->of.number : -1;
}

static sv_status read_shape(sv_entry *entry, const sv_json *shape, sv_failure *failure) {
    int fits = shape->kind == SV_JSON_LIST && shape->count <= SV_AXES;
    size_t product = 1; /* sizes of 0 count as 1 here */
    entry->axes = fits ? shape->count : 0;
    entry->elements = 1;
    const sv_json *value = shape + 1;
    for (uint32_t axis = 0; fits && axis < entry->axes; axis++, value = sv_json_next(value)) {
        int64_t size = sv_whole(value);
        fits = size >= 0 && (uint64_t)size <= SV_ELEMENTS / product;
        if (!fits)
            break;
        entry->shape[axis] = (uint32_t)size;
        entry->elements *= (size_t)size;
        product *= size ? (size_t)size : 1;
    }
    if (fits)
        return SV_OK;
    return sv_fail(failure, SV_BAD_FILE, "%.80s: expected a shape of up to %d whole numbers, %u elements at most",
                   entry->name, SV_AXES, SV_ELEMENTS);
}

static sv_status read_levels(sv_entry *entry, const sv_json *value, sv_failure *failure) {
    const sv_json *its_axis = sv_json_at(value, "axis");
    int64_t bits = sv_whole(sv_json_at(value, "bits")), largest = sv_whole(sv_json_at(value, "largest"));
    int64_t axis = its_axis ? sv_whole(its_axis) : 0;
    if (bits < 1 || bits > BITS || largest < 0 || largest > (bits == 1 ? 1 : (1 << (bits - 1)) - 1))
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected levels of 1 to %d bits, and a largest of them",
                       entry->name, BITS);
    if (axis < 0 || (its_axis && axis >= entry->axes))
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected an axis below %u", entry->name, entry->axes);
    entry->largest = (uint32_t)largest;
    entry->axis = (uint32_t)axis;
    entry->scales = its_axis ? entry->shape[axis] : 1;
    return SV_OK;
}

sv_status sv_read_entry(sv_entry *entry, const char *name, const sv_json *value, sv_failure *failure) {
    const sv_json *form = value->kind == SV_JSON_OBJECT ? sv_json_at(value, "form") : NULL;
    unsigned kind = 0;
    *entry = (sv_entry){.name = name, .scales = 1};
    while (kind < FORMS && !(form && form->kind == SV_JSON_TEXT && !strcmp(form->of.text, forms[kind].name)))
        kind++;
    if (kind == FORMS) {
        const char *came = form && form->kind == SV_JSON_TEXT ? form->of.text : "none";
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected a form that is known, got %.40s: of a later sottovoce?",
                       name, came);
    }
    if (!sv_has_keys(value, forms[kind].keys, forms[kind].optional))
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected the keys %s", name, forms[kind].keys);
    if (read_shape(entry, sv_json_at(value, "shape"), failure))
        return failure->status;
    if (sv_whole(sv_json_at(value, "bytes")) < 0 || sv_whole(sv_json_at(value, "crc32")) < 0)
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected whole numbers as bytes and crc32", name);

    const sv_json *planes = sv_json_at(value, "planes"), *values = sv_json_at(value, "values");
    if (planes && planes->kind != SV_JSON_TRUE)
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected planes to be true if it is there", name);
    entry->planes = planes != NULL;
    if (values) {
        int64_t count = sv_whole(values), least = kind == CODEBOOK, most = least ? TABLE : (int64_t)entry->elements;
        if (count < least || count > most)
            return sv_fail(failure, SV_BAD_FILE, "%.80s: expected %d to %ld values", name, (int)least, (long)most);
        entry->values = (uint32_t)count;
    }
    if (kind == LEVELS) {
        entry->form = SV_LEVELS;
        return read_levels(entry, value, failure);
    }
    entry->form = kind == SPARSE ? SV_SPARSE : SV_CODEBOOK;
    if (kind != DENSE)
        return SV_OK;
    const sv_json *type = sv_json_at(value, "type");
    int number = type->kind == SV_JSON_TEXT ? sv_word("float32 float16", type->of.text) : -1;
    if (number < 0)
        return sv_fail(failure, SV_BAD_FILE, "%.80s: expected the type float32 or float16", name);
    entry->form = number == 0 ? SV_DENSE32 : SV_DENSE16;
    return SV_OK;
}
