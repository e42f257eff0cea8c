/* numbers: the numbers of a JSON list, bit for bit in hexadecimal, a line each. */
#include <stdio.h>
#include <string.h>

#include "json.h"

int main(void) {
    static char text[1 << 20];
    sv_pool pool = {0};
    sv_failure failure = {0};
    const sv_json *list;
    size_t size = fread(text, 1, sizeof text, stdin);
    if (!sv_parse_json(&list, text, size, &pool, &failure)) {
        const sv_json *value = list + 1;
        for (uint32_t i = 0; i < list->count; i++, value = sv_json_next(value)) {
            uint64_t bits;
            memcpy(&bits, &value->of.number, sizeof bits);
            printf("%016llx\n", (unsigned long long)bits);
        }
    }
    if (failure.status)
        puts(failure.text);
    sv_release(&pool);
    return (int)failure.status;
}
