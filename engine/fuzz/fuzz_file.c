/* Fuzzing of the reader: any bytes are a file, or are refused. */
#include <stdlib.h>

#include "file.h"
#include "input.h"

static void unpack_all(const sv_file *file) {
    for (uint32_t i = 0; i < file->entry_count; i++) {
        sv_tensor tensor;
        sv_failure failure = {0};
        if (sv_unpack(&tensor, file->entries + i, &failure))
            continue;
        volatile float sum = 0;
        for (size_t element = 0; element < tensor.entry->elements; element += 1 + tensor.entry->elements / 64)
            sum = sum + sv_element(&tensor, element);
        sv_forget(&tensor);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    size_t length;
    uint8_t *bytes = fuzz_file(input, size, &length);
    if (!bytes)
        return 0;
    sv_pool pool = {0};
    sv_failure failure = {0};
    sv_file file;
    if (!sv_read(&file, bytes, length, &pool, &failure))
        unpack_all(&file);
    sv_release(&pool);
    free(bytes);
    return 0;
}
