/* The compressed parts of a file (RFC 1950, RFC 1951), and the checksums. */
#ifndef SV_INFLATE_H
#define SV_INFLATE_H

#include <stddef.h>
#include <stdint.h>

/* Whether the bytes are one deflate stream, all of it, of exactly `count` bytes, which are then in `plain`. */
int sv_inflate(uint8_t *plain, size_t count, const uint8_t *bytes, size_t size);
int sv_inflate_zlib(uint8_t *plain, size_t count, const uint8_t *bytes, size_t size);

uint32_t sv_crc32(const uint8_t *bytes, size_t size);

/* Whether a checksum is the one that was wanted; while fuzzing any is, as random bytes would come no further. */
int sv_checksum_fits(uint32_t wanted, uint32_t found);

#endif
