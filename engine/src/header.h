/* What the parts of a header say, each checked for itself and against those before it. */
#ifndef SV_HEADER_H
#define SV_HEADER_H

#include "file.h"
#include "json.h"

#define SV_ELEMENTS (1u << 28) /* of all tensors together, at most */

/* The value's number, if it is a whole one from 0 to 2^40 - 1; else -1. */
int64_t sv_whole(const sv_json *value);

/* All of an entry but where its bytes are, from the value of its name. */
sv_status sv_read_entry(sv_entry *entry, const char *name, const sv_json *value, sv_failure *failure);

/* What a node brings along; `optional` are those of its tensors and attributes that may be missing. */
typedef struct {
    uint32_t inputs;                           /* 0: one or more */
    const char *roles, *attributes, *optional; /* words with spaces between */
} sv_operation;

extern const sv_operation sv_operations[SV_OPS];

sv_status sv_read_attributes(sv_node *node, const sv_json *object, sv_pool *pool, sv_failure *failure);
int sv_fits(const sv_node *node); /* whether its attributes and the shapes of its tensors go together */

/* Inputs, output and nodes; over the entries that are there. What is needed only meanwhile is in `scratch`. */
sv_status sv_read_graph(sv_file *file, const sv_json *graph, sv_pool *pool, sv_pool *scratch, sv_failure *failure);

sv_status sv_read_meta(sv_file *file, const sv_json *meta, sv_failure *failure);

#endif
