/* Symbols coded by range asymmetric numeral systems (docs/format.md, "Stream"). */
#ifndef SV_RANS_H
#define SV_RANS_H

#include "file.h"

#define SV_ALPHABET 257       /* symbols, at most */
#define SV_LONGEST_LANE 65536 /* symbols of a lane, at most */

/* A matrix of symbols as it is stored, row after row. */
typedef struct {
    size_t rows, columns;   /* one or more */
    const uint8_t *classes; /* [rows + columns], or NULL: all 0 */
    uint32_t alphabet;
    uint8_t kinds[SV_ALPHABET]; /* 0 to 2, of each symbol */
    int transposed;             /* whether they are written column after column */
    uint8_t *to8;               /* where they go, [rows columns]: here, if they are below 256, */
    uint16_t *to16;             /* or there, */
    sv_found *found;            /* or here, if they are not 0 */
} sv_symbols;

/* Reads the symbols at the beginning of so many bytes; `used` is how many they took. NULL, or what was expected;
 * SV_MEMORY if there was not enough of it. */
extern const char *const SV_MEMORY;
const char *sv_read_symbols(const sv_symbols *symbols, const uint8_t *bytes, size_t size, size_t *used);

#endif
