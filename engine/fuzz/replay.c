/* replay FILE...: gives files to the fuzzing target once, with any compiler. */
#include "../tests/bytes.h"
#include "input.h"

int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        size_t size;
        uint8_t *bytes = bytes_of(paths[i], &size);
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
    }
    return 0;
}
