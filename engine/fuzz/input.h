/* Inputs of fuzzing as files. Built with SV_FUZZING, under which checksums fit.
 *
 * An input that begins as a file does is one. Any other is a header's JSON, a zero byte, and the bytes after the
 * header: so that a change of one byte of text stays one, which it would not within a compressed header. */
#ifndef SV_FUZZ_INPUT_H
#define SV_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* The file of an input, to be freed; NULL: no memory. */
uint8_t *fuzz_file(const uint8_t *input, size_t size, size_t *length);

#endif
