/* What a model and its sessions share. */
#ifndef SV_OPEN_H
#define SV_OPEN_H

#include "plan.h"

struct sv_model {
    sv_pool pool;
    sv_file file;
    sv_plan plan;
};

/* Frames that an input has for so many samples, with the zeros after them. */
size_t sv_frames_for(const sv_plan *plan, uint32_t input, size_t samples);

/* Copies a failure's text for the caller, who may not want it. */
sv_status sv_hand_out(const sv_failure *failure, char *text);

#endif
