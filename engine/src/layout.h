/* Where the values of a plan lie in a session's memory: what is not needed at the same time shares a place. */
#ifndef SV_LAYOUT_H
#define SV_LAYOUT_H

#include "ops.h"

/* Buffers for the values of all tasks: a view is where its input is, and so is a value made in place. */
sv_status sv_give_buffers(sv_builder *builder);

/* Places for all buffers, for so many frames of each input; their end in bytes. SIZE_MAX: more than there can be.
 * `offsets` has room for twice as many; the second half is for the work. */
size_t sv_lay_out(const sv_plan *plan, const size_t *frames, size_t *offsets);

#endif
