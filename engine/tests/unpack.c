/* unpack FILE OUT: all elements of all tensors of a file, one after the other, as float32. */
#include "bytes.h"
#include "file.h"

static int unpack_all(const sv_file *file, FILE *out, sv_failure *failure) {
    for (uint32_t i = 0; i < file->entry_count; i++) {
        sv_tensor tensor;
        if (sv_unpack(&tensor, file->entries + i, failure))
            return 1;
        for (size_t element = 0; element < tensor.entry->elements; element++) {
            float value = sv_element(&tensor, element);
            fwrite(&value, sizeof value, 1, out);
        }
        sv_forget(&tensor);
    }
    return 0;
}

int main(int count, char **arguments) {
    size_t size;
    FILE *out = count == 3 ? fopen(arguments[2], "wb") : NULL;
    if (!out)
        return 2;
    uint8_t *bytes = bytes_of(arguments[1], &size);
    sv_pool pool = {0};
    sv_failure failure = {0};
    sv_file file;
    int failed = sv_read(&file, bytes, size, &pool, &failure) || unpack_all(&file, out, &failure);
    if (failed)
        puts(failure.text);
    sv_release(&pool);
    free(bytes);
    fclose(out);
    return failed;
}
