/* The bytes of a file, for the programs of tests and fuzzing. */
#ifndef BYTES_H
#define BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* All of a file, to be freed; ends the program with status 2 where it cannot be read. */
static inline uint8_t *bytes_of(const char *path, size_t *size) {
    FILE *in = fopen(path, "rb");
    if (!in)
        exit(2);
    fseek(in, 0, SEEK_END);
    *size = (size_t)ftell(in);
    rewind(in);
    uint8_t *bytes = malloc(*size + !*size);
    if (!bytes || fread(bytes, 1, *size, in) != *size)
        exit(2);
    fclose(in);
    return bytes;
}

#endif
