/* replay FILE...: gives files to the fuzzing target once, with any compiler. */
#include <stdio.h>
#include <stdlib.h>

#include "input.h"

int main(int count, char **paths)
{
    for (int i = 1; i < count; i++) {
        FILE *in = fopen(paths[i], "rb");
        if (!in) return 2;
        fseek(in, 0, SEEK_END);
        size_t size = (size_t)ftell(in);
        uint8_t *bytes = malloc(size + !size);
        rewind(in);
        if (!bytes || fread(bytes, 1, size, in) != size) return 2;
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
        fclose(in);
    }
    return 0;
}
