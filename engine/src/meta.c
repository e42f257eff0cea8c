#include "header.h"

#include <string.h>

/* What others rely on when they read it; each may be missing. */
static const struct {
    const char *key;
    sv_json_kind kind;
    const char *type;
} known[] = {
    {"name", SV_JSON_TEXT, "a text"},
    {"model", SV_JSON_TEXT, "a text"},
    {"task", SV_JSON_TEXT, "a text"},
    {"recipe", SV_JSON_TEXT, "a text"},
    {"config", SV_JSON_OBJECT, "an object"},
    {"sample_rate", SV_JSON_WHOLE, "a whole number"},
    {"parameters", SV_JSON_WHOLE, "a whole number"},
    {"not_compressed", SV_JSON_OBJECT, "an object"},
    {"rows", SV_JSON_LIST, "a list"},
    {"removed", SV_JSON_OBJECT, "an object"},
    {"folded", SV_JSON_LIST, "a list"},
};

static int is_shape(const sv_json *value) {
    if (value->kind != SV_JSON_LIST)
        return 0;
    const sv_json *size = value + 1;
    for (uint32_t i = 0; i < value->count; i++, size = sv_json_next(size))
        if (size->kind != SV_JSON_WHOLE)
            return 0;
    return 1;
}

static int is_text(const sv_json *value) { return value->kind == SV_JSON_TEXT; }
static int is_object(const sv_json *value) { return value->kind == SV_JSON_OBJECT; }

/* [old shape, new shape], the new one null of a tensor that is gone. */
static int is_change(const sv_json *value) {
    if (value->kind != SV_JSON_LIST || value->count != 2 || !is_shape(value + 1))
        return 0;
    const sv_json *now = sv_json_next(value + 1);
    return now->kind == SV_JSON_NULL || is_shape(now);
}

/* Whether all that is in a list or object, if there is one, is like this. */
static int all(const sv_json *value, int is(const sv_json *)) {
    if (!value)
        return 1;
    int keys = value->kind == SV_JSON_OBJECT;
    const sv_json *at = value + 1 + keys;
    for (uint32_t i = 0; i < value->count; i++, at = sv_json_next(at) + keys)
        if (!is(at))
            return 0;
    return 1;
}

sv_status sv_read_meta(sv_file *file, const sv_json *meta, sv_failure *failure) {
    if (!is_object(meta))
        return sv_fail(failure, SV_BAD_FILE, "header: expected meta to be an object");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const sv_json *value = sv_json_at(meta, known[i].key);
        if (value && value->kind != known[i].kind)
            return sv_fail(failure, SV_BAD_FILE, "meta: expected %s to be %s", known[i].key, known[i].type);
    }
    if (!all(sv_json_at(meta, "not_compressed"), is_text) || !all(sv_json_at(meta, "folded"), is_text))
        return sv_fail(failure, SV_BAD_FILE, "meta: expected texts in not_compressed and folded");
    if (!all(sv_json_at(meta, "rows"), is_object))
        return sv_fail(failure, SV_BAD_FILE, "meta: expected objects in rows");
    if (!all(sv_json_at(meta, "removed"), is_change))
        return sv_fail(failure, SV_BAD_FILE, "meta: expected pairs of shapes in removed");
    const sv_json *rate = sv_json_at(meta, "sample_rate");
    int64_t hertz = rate ? sv_whole(rate) : 0;
    if (hertz < 0 || hertz > UINT32_MAX)
        return sv_fail(failure, SV_BAD_FILE, "meta: expected a sample_rate in Hz");
    file->sample_rate = (uint32_t)hertz;
    return SV_OK;
}
