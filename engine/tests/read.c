/* read: of each path on a line, reads the file and unpacks all its tensors; a line with the status and text. */
#include <string.h>

#include "bytes.h"
#include "file.h"

static sv_status read_all(const void *bytes, size_t size, sv_pool *pool, sv_failure *failure) {
    sv_file file;
    if (sv_read(&file, bytes, size, pool, failure))
        return failure->status;
    for (uint32_t i = 0; i < file.entry_count; i++) {
        sv_tensor tensor;
        if (sv_unpack(&tensor, file.entries + i, failure))
            return failure->status;
        sv_forget(&tensor);
    }
    return SV_OK;
}

int main(void) {
    char path[4096];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        size_t size;
        uint8_t *bytes = bytes_of(path, &size);
        sv_pool pool = {0};
        sv_failure failure = {0};
        read_all(bytes, size, &pool, &failure);
        printf("%d %s\n", failure.status, failure.text);
        sv_release(&pool);
        free(bytes);
    }
    return 0;
}
