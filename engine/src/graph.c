#include "header.h"

#include <string.h>

typedef struct {
    sv_file *file;
    sv_pool *pool;
    sv_name *values, *entries; /* by name; a value's number is that of sv_node */
    uint32_t value_count;
    sv_failure *failure;
} reading;

static int are_texts(const sv_json *list) {
    const sv_json *value = list + 1;
    if (list->kind != SV_JSON_LIST)
        return 0;
    for (uint32_t i = 0; i < list->count; i++, value = sv_json_next(value))
        if (value->kind != SV_JSON_TEXT)
            return 0;
    return 1;
}

static int is_node(const sv_json *value) {
    static const sv_json_kind kinds[] = {SV_JSON_TEXT, SV_JSON_TEXT, SV_JSON_LIST, SV_JSON_OBJECT, SV_JSON_OBJECT};
    if (value->kind != SV_JSON_LIST || value->count != 5)
        return 0;
    const sv_json *field = value + 1;
    for (int i = 0; i < 5; i++, field = sv_json_next(field))
        if (field->kind != kinds[i])
            return 0;
    return are_texts(value + 3);
}

/* The values, of a number below `before`, that a list names. */
static sv_status read_inputs(const reading *r, sv_node *node, const sv_json *list, uint32_t before) {
    uint32_t wanted = sv_operations[node->op].inputs, count = list->count;
    if (wanted ? count != wanted : !count)
        return sv_fail(r->failure, SV_BAD_FILE, "graph: %.80s: expected %u inputs%s of %s, got %u", node->name,
                       wanted ? wanted : 1, wanted ? "" : " or more", sv_op_names[node->op], count);
    node->input_count = count;
    node->inputs = sv_take(r->pool, count, sizeof *node->inputs);
    if (!node->inputs)
        return sv_fail(r->failure, SV_NO_MEMORY, "graph: %.80s: no memory for its inputs", node->name);
    const sv_json *name = list + 1;
    for (uint32_t i = 0; i < count; i++, name++) {
        const sv_name *found = sv_find_name(r->values, r->value_count, name->of.text);
        if (!found || found->number >= before)
            return sv_fail(r->failure, SV_BAD_FILE, "graph: %.80s: expected its input %.80s to come before it",
                           node->name, name->of.text);
        node->inputs[i] = found->number;
    }
    return SV_OK;
}

static sv_status read_tensors(const reading *r, sv_node *node, const sv_json *object) {
    const sv_operation *op = sv_operations + node->op;
    if (!sv_has_keys(object, op->roles, op->optional))
        return sv_fail(r->failure, SV_BAD_FILE, "graph: %.80s: expected the tensors (%s) of %s", node->name, op->roles,
                       sv_op_names[node->op]);
    const sv_json *key = object + 1;
    for (uint32_t i = 0; i < object->count; i++, key = sv_json_next(key + 1)) {
        const sv_name *found
            = key[1].kind != SV_JSON_TEXT ? NULL : sv_find_name(r->entries, r->file->entry_count, key[1].of.text);
        if (!found)
            return sv_fail(r->failure, SV_BAD_FILE, "graph: %.80s: expected a tensor of the file as its %s, got %.80s",
                           node->name, key->of.text, key[1].kind == SV_JSON_TEXT ? key[1].of.text : "no name");
        node->tensors[sv_word(op->roles, key->of.text)] = r->file->entries + found->number;
    }
    return SV_OK;
}

static sv_status read_node(const reading *r, sv_node *node, const sv_json *value, uint32_t number) {
    const sv_json *op = value + 1, *name = value + 2, *inputs = value + 3, *tensors = sv_json_next(inputs);
    while (node->op < SV_OPS && strcmp(op->of.text, sv_op_names[node->op]))
        node->op++;
    if (node->op == SV_OPS)
        return sv_fail(r->failure, SV_UNSUPPORTED, "graph: %.80s: unknown operation %.40s: of a later sottovoce?",
                       name->of.text, op->of.text);
    if (read_inputs(r, node, inputs, number) || read_tensors(r, node, tensors)
        || sv_read_attributes(node, sv_json_next(tensors), r->pool, r->failure))
        return r->failure->status;
    if (sv_fits(node))
        return SV_OK;
    return sv_fail(r->failure, SV_BAD_FILE, "graph: %.80s: expected attributes and shapes that make one %s", node->name,
                   sv_op_names[node->op]);
}

/* The names of all values and tensors, to be found by. */
static sv_status read_names(reading *r, const sv_json *inputs, const sv_json *nodes, sv_pool *scratch) {
    sv_file *file = r->file;
    file->input_count = inputs->count;
    file->node_count = nodes->count;
    r->value_count = file->input_count + file->node_count;
    file->inputs = sv_take(r->pool, file->input_count, sizeof *file->inputs);
    file->nodes = sv_take(r->pool, file->node_count, sizeof *file->nodes);
    r->values = sv_take(scratch, r->value_count, sizeof *r->values);
    r->entries = sv_take(scratch, file->entry_count, sizeof *r->entries);
    if (!file->inputs || !file->nodes || !r->values || !r->entries)
        goto no_memory;
    const sv_json *at = inputs + 1;
    for (uint32_t i = 0; i < file->input_count; i++, at = sv_json_next(at))
        if (!(file->inputs[i] = sv_keep(r->pool, at->of.text)))
            goto no_memory;
    at = nodes + 1;
    for (uint32_t i = 0; i < file->node_count; i++, at = sv_json_next(at)) {
        if (!is_node(at))
            return sv_fail(r->failure, SV_BAD_FILE,
                           "graph: expected node %u to be [op, name, inputs, tensors, attributes]", i);
        if (!(file->nodes[i].name = sv_keep(r->pool, at[2].of.text)))
            goto no_memory;
    }
    for (uint32_t i = 0; i < r->value_count; i++)
        r->values[i] = (sv_name){i < file->input_count ? file->inputs[i] : file->nodes[i - file->input_count].name, i};
    for (uint32_t i = 0; i < file->entry_count; i++)
        r->entries[i] = (sv_name){file->entries[i].name, i};
    sv_sort_names(r->values, r->value_count);
    sv_sort_names(r->entries, file->entry_count);
    const sv_name *twice = sv_twice(r->values, r->value_count);
    if (!twice)
        return SV_OK;
    return sv_fail(r->failure, SV_BAD_FILE, "graph: expected one value of the name %.80s, got two", twice->text);
no_memory:
    return sv_fail(r->failure, SV_NO_MEMORY, "graph: no memory for %u values", r->value_count);
}

sv_status sv_read_graph(sv_file *file, const sv_json *graph, sv_pool *pool, sv_pool *scratch, sv_failure *failure) {
    reading r = {file, pool, NULL, NULL, 0, failure};
    if (!sv_has_keys(graph, "inputs outputs nodes", ""))
        return sv_fail(failure, SV_BAD_FILE, "graph: expected the keys inputs outputs nodes");
    const sv_json *inputs = sv_json_at(graph, "inputs"), *outputs = sv_json_at(graph, "outputs");
    const sv_json *nodes = sv_json_at(graph, "nodes");
    if (!are_texts(inputs) || !are_texts(outputs) || nodes->kind != SV_JSON_LIST)
        return sv_fail(failure, SV_BAD_FILE, "graph: expected lists of names and of nodes");
    if (!inputs->count || !outputs->count)
        return sv_fail(failure, SV_BAD_FILE, "graph: expected an input and an output");
    if (read_names(&r, inputs, nodes, scratch))
        return failure->status;
    const sv_json *value = nodes + 1;
    for (uint32_t i = 0; i < file->node_count; i++, value = sv_json_next(value))
        if (read_node(&r, file->nodes + i, value, file->input_count + i))
            return failure->status;
    for (uint32_t i = outputs->count; i > 0; i--) { /* texts have no others within them; the first one counts */
        const sv_name *found = sv_find_name(r.values, r.value_count, outputs[i].of.text);
        if (!found)
            return sv_fail(failure, SV_BAD_FILE, "graph: expected the output %.80s to be a value of it",
                           outputs[i].of.text);
        file->output = found->number;
    }
    return SV_OK;
}
