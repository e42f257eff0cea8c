/* Names in order, those that are equal by their numbers: to find one, or two alike. */
#ifndef SV_NAMES_H
#define SV_NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *text;
    uint32_t number;
} sv_name;

void sv_sort_names(sv_name *names, size_t count);
const sv_name *sv_twice(const sv_name *names, size_t count); /* the second of two alike, or NULL */
const sv_name *sv_find_name(const sv_name *names, size_t count, const char *text);

#endif
