/* JSON (RFC 8259) as the values that it is made of: UTF-8, no key twice in an object, finite numbers only. */
#ifndef SV_JSON_H
#define SV_JSON_H

#include "common.h"
#include "names.h"

typedef enum {
    SV_JSON_NULL,
    SV_JSON_FALSE,
    SV_JSON_TRUE,
    SV_JSON_WHOLE,
    SV_JSON_REAL,
    SV_JSON_TEXT,
    SV_JSON_LIST,
    SV_JSON_OBJECT
} sv_json_kind;

/* Values lie one after the other as they stand in the text; within an object each comes after its key, a text. */
typedef struct {
    sv_json_kind kind;
    uint32_t count; /* elements of a list, pairs of an object */
    uint32_t span;  /* values up to the next one beside it, itself and those within it */
    union {
        const char *text; /* UTF-8; a zero character is C0 80, half of a pair as if it were whole */
        double number;    /* a whole one beyond 2^53 is rounded, and may be infinite */
    } of;
} sv_json;

/* Reads a text, in which the texts of the values then lie; values are in `pool`. */
sv_status sv_parse_json(const sv_json **value, char *text, size_t size, sv_pool *pool, sv_failure *failure);

/* The value at a key of an object, NULL if there is none. */
const sv_json *sv_json_at(const sv_json *object, const char *key);

/* The place of a text among words with spaces between, or -1. */
int sv_word(const char *words, const char *text);

/* Whether it is an object of these keys and no others; those that are `optional` too may be missing. */
int sv_has_keys(const sv_json *value, const char *words, const char *optional);

static inline const sv_json *sv_json_next(const sv_json *value) { return value + value->span; }

/* The double nearest to digits x 10^exponent, halves to even; infinite if it is too large. Digits are 0 to 9. */
double sv_decimal(const char *digits, size_t count, int64_t exponent);

#endif
