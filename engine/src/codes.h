/* The codes of a tensor (docs/format.md, "Codes"). */
#ifndef SV_CODES_H
#define SV_CODES_H

#include "file.h"

/* Reads tensor->codes8 or codes16 out of all of these bytes: codes below `count`, that have these values. */
sv_status sv_read_codes(sv_tensor *tensor, const uint8_t *bytes, size_t size, const float *values, uint32_t count,
                        sv_failure *failure);

#endif
