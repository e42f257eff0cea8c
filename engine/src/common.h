/* What every file of the engine uses: memory that is let go of as a whole, and errors with a text. */
#ifndef SV_COMMON_H
#define SV_COMMON_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "sottovoce.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files and kernels are little-endian"
#endif

/* All memory of a model or of a session: taken piece by piece, let go of at once. */
typedef struct sv_pool {
    struct sv_block *last;
    size_t bytes;
} sv_pool;

/* Zeros, aligned to 64 bytes; NULL: out of memory, or too much. */
void *sv_take(sv_pool *pool, size_t count, size_t size);
/* A copy of a text; NULL: out of memory. */
const char *sv_keep(sv_pool *pool, const char *text);
void sv_release(sv_pool *pool);

/* Where an error goes on its way to the caller. Functions that can fail return its status. */
typedef struct {
    sv_status status;
    char text[SV_TEXT];
} sv_failure;

sv_status sv_fail(sv_failure *failure, sv_status status, const char *format, ...); /* the first one stays */

/* The bytes of the character of UTF-8 (RFC 3629) at the beginning of so many bytes, 0 if there is none. */
size_t sv_character(const uint8_t *bytes, size_t size);

#endif
