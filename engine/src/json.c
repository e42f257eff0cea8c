#include "json.h"

#include <math.h>
#include <string.h>

/* A value that is still open has the number of the one around it in `span`. */
#define NONE UINT32_MAX

typedef struct {
    char *begin, *next, *end;
    sv_json *values;
    uint32_t count;
    sv_name *keys; /* room for those of an object */
    sv_failure *failure;
} parser;

static sv_status fail(const parser *p, const char *wanted) {
    size_t at = (size_t)(p->next - p->begin);
    return sv_fail(p->failure, SV_BAD_FILE, "header: not JSON: expected %s at byte %zu", wanted, at);
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_space(parser *p) {
    while (p->next < p->end && (*p->next == ' ' || *p->next == '\t' || *p->next == '\n' || *p->next == '\r'))
        p->next++;
}

/* Whether this character is next, which it then steps over. */
static int comes(parser *p, char c) {
    if (p->next == p->end || *p->next != c)
        return 0;
    p->next++;
    return 1;
}

static int comes_word(parser *p, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(p->end - p->next) < length || memcmp(p->next, word, length))
        return 0;
    p->next += length;
    return 1;
}

/* ---- texts ----------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The number of four hexadecimal digits, or -1. */
static int32_t read_hex(const char *at, const char *end) {
    int32_t number = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        number = number << 4 | digit;
    }
    return number;
}

static char *put_character(char *to, int32_t point) {
    if (point > 0 && point < 0x80) {
        *to++ = (char)point;
    } else if (point < 0x800) {
        *to++ = (char)(0xC0 | point >> 6);
        *to++ = (char)(0x80 | (point & 63));
    } else {
        if (point < 0x10000) {
            *to++ = (char)(0xE0 | point >> 12);
        } else {
            *to++ = (char)(0xF0 | point >> 18);
            *to++ = (char)(0x80 | (point >> 12 & 63));
        }
        *to++ = (char)(0x80 | (point >> 6 & 63));
        *to++ = (char)(0x80 | (point & 63));
    }
    return to;
}

/* The character of an escape, whose \ is behind us, or -1. */
static int32_t read_escape(parser *p) {
    static const char names[] = "\"\\/bfnrt", characters[] = "\"\\/\b\f\n\r\t";
    if (!comes(p, 'u')) {
        const char *found = p->next < p->end && *p->next ? strchr(names, *p->next) : NULL;
        p->next += found != NULL;
        return found ? characters[found - names] : -1;
    }
    int32_t point = read_hex(p->next, p->end);
    p->next += point < 0 ? 0 : 4;
    if (point >> 10 == 0xD800 >> 10 && p->end - p->next >= 6 && p->next[0] == '\\' && p->next[1] == 'u') {
        int32_t other = read_hex(p->next + 2, p->end);
        if (other >> 10 == 0xDC00 >> 10) {
            p->next += 6;
            return 0x10000 + ((point & 0x3FF) << 10 | (other & 0x3FF));
        }
    }
    return point;
}

/* A text whose first quotation mark is behind us; it is laid where it stands, where it takes no more room. */
static sv_status read_text(parser *p, sv_json *value) {
    char *to = p->next;
    value->kind = SV_JSON_TEXT;
    value->of.text = to;
    while (p->next < p->end && *p->next != '"') {
        if ((uint8_t)*p->next < 0x20)
            return fail(p, "no control character in a text");
        if (*p->next != '\\') {
            *to++ = *p->next++;
            continue;
        }
        p->next++;
        int32_t point = read_escape(p);
        if (point < 0)
            return fail(p, "an escape");
        to = put_character(to, point);
    }
    if (!comes(p, '"'))
        return fail(p, "the end of a text");
    *to = 0;
    return SV_OK;
}

/* ---- numbers --------------------------------------------------------------------------------------------- */

/* Its digits are laid side by side where it stands. */
static sv_status read_number(parser *p, sv_json *value) {
    int negative = comes(p, '-');
    char *digits = p->next, *to = p->next;
    while (p->next < p->end && is_digit(*p->next))
        to++, p->next++;
    if (to == digits || (*digits == '0' && to - digits > 1))
        return fail(p, "a value");
    value->kind = SV_JSON_WHOLE;
    int64_t exponent = 0;
    if (p->end - p->next >= 2 && *p->next == '.' && is_digit(p->next[1])) {
        value->kind = SV_JSON_REAL;
        for (p->next++; p->next < p->end && is_digit(*p->next); exponent--)
            *to++ = *p->next++;
    }
    if (p->next < p->end && (*p->next == 'e' || *p->next == 'E')) {
        value->kind = SV_JSON_REAL;
        p->next++;
        int down = comes(p, '-');
        if (!down)
            comes(p, '+');
        if (p->next == p->end || !is_digit(*p->next))
            return fail(p, "an exponent");
        int64_t power = 0;
        for (; p->next < p->end && is_digit(*p->next); p->next++)
            if (power < 100000000)
                power = 10 * power + (*p->next - '0');
        exponent += down ? -power : power;
    }
    double number = sv_decimal(digits, (size_t)(to - digits), exponent);
    if (value->kind == SV_JSON_REAL && !isfinite(number))
        return fail(p, "a finite number");
    value->of.number = negative ? -number : number;
    return SV_OK;
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static sv_json *add(parser *p) {
    sv_json *value = p->values + p->count++;
    *value = (sv_json){.span = 1};
    return value;
}

static sv_status read_key(parser *p) {
    skip_space(p);
    if (!comes(p, '"'))
        return fail(p, "a key");
    if (read_text(p, add(p)))
        return p->failure->status;
    skip_space(p);
    return comes(p, ':') ? SV_OK : fail(p, "a colon");
}

/* A value, or the beginning of a list or object. */
static sv_status read_value(parser *p, uint32_t around) {
    skip_space(p);
    sv_json *value = add(p);
    int list = comes(p, '[');
    if (list || comes(p, '{')) {
        value->kind = list ? SV_JSON_LIST : SV_JSON_OBJECT;
        value->span = around;
        return SV_OK;
    }
    if (comes(p, '"'))
        return read_text(p, value);
    if (comes_word(p, "null"))
        return SV_OK;
    int truth = comes_word(p, "true");
    if (truth || comes_word(p, "false")) {
        value->kind = truth ? SV_JSON_TRUE : SV_JSON_FALSE;
        return SV_OK;
    }
    return read_number(p, value);
}

static int is_closed_by(parser *p, const sv_json *value) { return comes(p, value->kind == SV_JSON_LIST ? ']' : '}'); }

static sv_status check_keys(const parser *p, const sv_json *object) {
    const sv_json *key = object + 1;
    for (uint32_t i = 0; i < object->count; i++, key = sv_json_next(key + 1))
        p->keys[i] = (sv_name){key->of.text, i};
    sv_sort_names(p->keys, object->count);
    const sv_name *twice = sv_twice(p->keys, object->count);
    if (!twice)
        return SV_OK;
    return sv_fail(p->failure, SV_BAD_FILE, "header: not JSON: expected the key %.80s once in an object", twice->text);
}

/* Without recursion, as the text says how deep it goes. */
static sv_status read_all(parser *p) {
    uint32_t around = NONE; /* the innermost value that is open */
    for (;;) {
        uint32_t number = p->count;
        if (read_value(p, around))
            return p->failure->status;
        int opens = p->values[number].kind >= SV_JSON_LIST;
        if (opens)
            around = number;
        for (;;) { /* steps to the next value, out of all that ends here */
            skip_space(p);
            if (around == NONE)
                return p->next == p->end ? SV_OK : fail(p, "nothing after the value");
            sv_json *open = p->values + around;
            int first = opens;
            opens = 0;
            if (!first)
                open->count++;
            if (is_closed_by(p, open)) {
                around = open->span;
                open->span = p->count - (uint32_t)(open - p->values);
                if (open->kind == SV_JSON_OBJECT && check_keys(p, open))
                    return p->failure->status;
                continue;
            }
            if (!first && !comes(p, ','))
                return fail(p, "a comma");
            if (open->kind == SV_JSON_OBJECT && read_key(p))
                return p->failure->status;
            break;
        }
    }
}

sv_status sv_parse_json(const sv_json **value, char *text, size_t size, sv_pool *pool, sv_failure *failure) {
    size_t values = 2, keys = 1; /* no fewer than there are: each but the first comes after one of these */
    for (size_t i = 0; i < size; i++) {
        keys += text[i] == ':';
        values += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{';
    }
    parser p = {text, text, text + size, NULL, 0, NULL, failure};
    for (size_t i = 0, length; i < size; i += length) {
        length = sv_character((const uint8_t *)text + i, size - i);
        if (!length)
            return sv_fail(failure, SV_BAD_FILE, "header: not JSON: not UTF-8 at byte %zu", i);
    }
    p.values = sv_take(pool, values, sizeof *p.values);
    p.keys = sv_take(pool, keys, sizeof *p.keys);
    if (!p.values || !p.keys || values >= NONE)
        return sv_fail(failure, SV_NO_MEMORY, "header: no memory for %zu values", values);
    *value = p.values;
    return read_all(&p);
}

const sv_json *sv_json_at(const sv_json *object, const char *key) {
    const sv_json *at = object + 1;
    for (uint32_t i = 0; i < object->count; i++, at = sv_json_next(at + 1))
        if (!strcmp(at->of.text, key))
            return at + 1;
    return NULL;
}

/* The place of so many characters among words, or -1. */
static int find_word(const char *words, const char *text, size_t length) {
    for (int number = 0; *words; number++) {
        size_t word = strcspn(words, " ");
        if (word == length && !memcmp(words, text, length))
            return number;
        words += word + (words[word] == ' ');
    }
    return -1;
}

int sv_word(const char *words, const char *text) { return find_word(words, text, strlen(text)); }

int sv_has_keys(const sv_json *value, const char *words, const char *optional) {
    if (value->kind != SV_JSON_OBJECT)
        return 0;
    uint32_t missing = 0; /* of the keys that must be there */
    for (const char *word = words; *word; word += *word == ' ') {
        size_t length = strcspn(word, " ");
        missing += find_word(optional, word, length) < 0;
        word += length;
    }
    const sv_json *key = value + 1;
    for (uint32_t i = 0; i < value->count; i++, key = sv_json_next(key + 1)) {
        if (sv_word(words, key->of.text) < 0)
            return 0;
        missing -= sv_word(optional, key->of.text) < 0;
    }
    return missing == 0;
}
