#include "names.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b) {
    const sv_name *one = a, *other = b;
    int order = strcmp(one->text, other->text);
    return order ? order : (one->number > other->number) - (one->number < other->number);
}

void sv_sort_names(sv_name *names, size_t count) {
    if (count > 1)
        qsort(names, count, sizeof *names, compare_names);
}

const sv_name *sv_twice(const sv_name *names, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1].text, names[i].text))
            return names + i;
    return NULL;
}

static int compare_text(const void *text, const void *name) { return strcmp(text, ((const sv_name *)name)->text); }

const sv_name *sv_find_name(const sv_name *names, size_t count, const char *text) {
    return count ? bsearch(text, names, count, sizeof *names, compare_text) : NULL;
}
