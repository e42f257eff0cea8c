/* read: of each path on a line, reads the file and unpacks all its tensors; a line with the status and text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

static sv_status read_all(const void *bytes, size_t size, sv_pool *pool, sv_failure *failure)
{
    sv_file file;
    if (sv_read(&file, bytes, size, pool, failure)) return failure->status;
    for (uint32_t i = 0; i < file.entry_count; i++) {
        sv_tensor tensor;
        if (sv_unpack(&tensor, file.entries + i, failure)) return failure->status;
        sv_forget(&tensor);
    }
    return SV_OK;
}

int main(void)
{
    char path[4096];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        FILE *in = fopen(path, "rb");
        if (!in) return 2;
        fseek(in, 0, SEEK_END);
        size_t size = (size_t)ftell(in);
        char *bytes = malloc(size + !size);
        rewind(in);
        if (!bytes || fread(bytes, 1, size, in) != size) return 2;
        sv_pool pool = {0};
        sv_failure failure = {0};
        read_all(bytes, size, &pool, &failure);
        printf("%d %s\n", failure.status, failure.text);
        sv_release(&pool);
        free(bytes);
        fclose(in);
    }
    return 0;
}
