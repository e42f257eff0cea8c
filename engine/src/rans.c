#include "rans.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 6
#define PRECISION 15
#define TOTAL (1u << PRECISION)
#define LOWEST 65536u /* of a state */
#define STEP 7        /* slots that `first` takes together, as a power of two */
#define FIRSTS (TOTAL >> STEP)

const char *const SV_MEMORY = "memory";

typedef struct {
    uint32_t state;
    uint16_t row_class, kind; /* that of the symbol before */
    size_t row, column, to;   /* where the next symbol belongs, and is written */
} lane;

/* A table, of a context and a kind, is FIRSTS numbers, the first symbol that may have a slot of so many, and
 * alphabet + 1 numbers, the slots at which the symbols begin. */
typedef struct {
    const sv_symbols *symbols;
    uint32_t contexts, kinds;
    size_t table_size;
    uint16_t *tables;
    lane *lanes;
    uint32_t lane_count, longer; /* lanes of `steps` symbols; the others have one less */
    size_t steps;
    const uint8_t *words, *end;
} decoder;

/* ---- tables ---------------------------------------------------------------------------------------------- */

static void make_table(uint16_t *table, const uint8_t *levels, uint32_t alphabet) {
    uint32_t weights[SV_ALPHABET], frequencies[SV_ALPHABET], greatest = 0;
    uint64_t sum = 0;
    for (uint32_t s = 0; s < alphabet; s++) {
        weights[s] = levels[s] ? (16u + levels[s] % 16) << (levels[s] / 16) : 0;
        sum += weights[s];
        if (weights[s] > weights[greatest])
            greatest = s;
    }
    if (!sum)
        sum = weights[0] = 1;
    uint32_t missing = TOTAL; /* may wrap around below 0 on the way */
    for (uint32_t s = 0; s < alphabet; s++) {
        frequencies[s] = (uint32_t)((uint64_t)weights[s] * TOTAL / sum);
        if (weights[s] && !frequencies[s])
            frequencies[s] = 1;
        missing -= frequencies[s];
    }
    frequencies[greatest] += missing;
    uint16_t *begins = table + FIRSTS;
    uint32_t begin = 0, next = 0;
    for (uint32_t s = 0; s < alphabet; s++) {
        begins[s] = (uint16_t)begin;
        begin += frequencies[s];
        for (; next < FIRSTS && next << STEP < begin; next++)
            table[next] = (uint16_t)s;
    }
    begins[alphabet] = (uint16_t)begin;
}

static void count_contexts(decoder *d) {
    const sv_symbols *of = d->symbols;
    uint32_t rows = 0, columns = 0; /* their highest classes */
    for (size_t i = 0; of->classes && i < of->rows; i++)
        if (of->classes[i] > rows)
            rows = of->classes[i];
    for (size_t i = 0; of->classes && i < of->columns; i++)
        if (of->classes[of->rows + i] > columns)
            columns = of->classes[of->rows + i];
    d->contexts = rows + columns + 1;
    d->kinds = 1;
    for (uint32_t s = 0; s < of->alphabet; s++)
        if (of->kinds[s] >= d->kinds)
            d->kinds = of->kinds[s] + 1u;
}

/* ---- lanes ----------------------------------------------------------------------------------------------- */

static int begin_lane(decoder *d, uint32_t number, uint32_t state) {
    const sv_symbols *of = d->symbols;
    size_t before = number * (d->steps - 1) + (number < d->longer ? number : d->longer);
    lane *l = d->lanes + number;
    *l = (lane){.state = state, .row = before / of->columns, .column = before % of->columns};
    l->row_class = of->classes ? of->classes[l->row] : 0;
    l->to = of->transposed ? l->column * of->rows + l->row : before;
    return state >= LOWEST;
}

/* The next symbol of a lane; `words` are those that are left for all. */
static inline uint32_t decode(const decoder *d, const sv_symbols *of, lane *l, const uint8_t *column_classes,
                              const uint8_t **words) {
    uint32_t context = l->row_class + (column_classes ? column_classes[l->column] : 0u);
    const uint16_t *table = d->tables + (context * d->kinds + l->kind) * d->table_size, *begins = table + FIRSTS;
    uint32_t slot = l->state & (TOTAL - 1), s = table[slot >> STEP];
    while (slot >= begins[s + 1])
        s++;
    uint32_t x = (uint32_t)(begins[s + 1] - begins[s]) * (l->state >> PRECISION) + slot - begins[s];
    if (x < LOWEST && *words < d->end) { /* a state that gets no word can never end as it must */
        uint16_t word;
        memcpy(&word, *words, sizeof word);
        *words += sizeof word;
        x = x << 16 | word;
    }
    l->state = x;
    l->kind = of->kinds[s];
    return s;
}

static inline void advance(lane *l, const sv_symbols *of) {
    l->to += of->transposed ? of->rows : 1;
    if (++l->column < of->columns)
        return;
    l->column = 0;
    l->row++;
    if (of->transposed)
        l->to = l->row;
    if (of->classes)
        l->row_class = of->classes[l->row]; /* behind those of the rows lie those of the columns */
}

static int note(sv_found *found, size_t element, uint32_t code) {
    if (found->count == found->room) {
        size_t room = found->room + found->room / 2 + 4096;
        uint32_t *elements = realloc(found->elements, room * sizeof *elements);
        found->elements = elements ? elements : found->elements;
        uint8_t *codes = elements ? realloc(found->codes, room) : NULL;
        if (!codes)
            return 0;
        found->codes = codes;
        found->room = room;
    }
    found->elements[found->count] = (uint32_t)element;
    found->codes[found->count++] = (uint8_t)code;
    return 1;
}

static const char *run_lanes(const decoder *lent) {
    const decoder d = *lent; /* copies, which no symbol that is written can change */
    const sv_symbols of = *d.symbols;
    const uint8_t *column_classes = of.classes ? of.classes + of.rows : NULL, *words = d.words;
    for (size_t step = 0; step < d.steps; step++) {
        uint32_t active = step + 1 < d.steps ? d.lane_count : d.longer;
        for (uint32_t i = 0; i < active; i++) {
            lane *l = d.lanes + i;
            uint32_t symbol = decode(&d, &of, l, column_classes, &words);
            if (of.to8)
                of.to8[l->to] = (uint8_t)symbol;
            else if (of.to16)
                of.to16[l->to] = (uint16_t)symbol;
            else if (symbol && !note(of.found, l->to, symbol))
                return SV_MEMORY;
            advance(l, &of);
        }
    }
    int ended = words == d.end;
    for (uint32_t i = 0; i < d.lane_count; i++)
        ended &= d.lanes[i].state == LOWEST;
    return ended ? NULL : "coded symbols that end where they should";
}

/* ---- the stream ------------------------------------------------------------------------------------------ */

static const char *read_all(decoder *d, const uint8_t *bytes, size_t size, size_t *used) {
    const sv_symbols *of = d->symbols;
    size_t count = of->rows * of->columns;
    uint16_t lanes;
    uint32_t words, state;
    if (size < HEAD)
        return "the head of coded symbols";
    memcpy(&lanes, bytes, sizeof lanes);
    memcpy(&words, bytes + 2, sizeof words);
    if (lanes > count || lanes < (count + SV_LONGEST_LANE - 1) / SV_LONGEST_LANE)
        return "as many lanes as coded symbols take";
    count_contexts(d);
    size_t tables = (size_t)d->contexts * d->kinds, levels = tables * of->alphabet;
    uint64_t end = HEAD + (uint64_t)levels + 4 * (uint64_t)lanes + 2 * (uint64_t)words;
    if (end > size)
        return "more bytes of coded symbols";
    d->table_size = FIRSTS + of->alphabet + 1;
    d->tables = malloc(tables * d->table_size * sizeof *d->tables);
    d->lanes = malloc(lanes * sizeof *d->lanes);
    if (!d->tables || !d->lanes)
        return SV_MEMORY;
    for (size_t i = 0; i < tables; i++)
        make_table(d->tables + i * d->table_size, bytes + HEAD + i * of->alphabet, of->alphabet);
    d->lane_count = lanes;
    d->steps = (count + lanes - 1) / lanes;
    d->longer = (uint32_t)(count - (d->steps - 1) * lanes);
    for (uint32_t i = 0; i < lanes; i++) {
        memcpy(&state, bytes + HEAD + levels + 4 * (size_t)i, sizeof state);
        if (!begin_lane(d, i, state))
            return "states of coded symbols of 65536 or more";
    }
    *used = (size_t)end;
    d->end = bytes + end;
    d->words = d->end - 2 * (size_t)words;
    return run_lanes(d);
}

const char *sv_read_symbols(const sv_symbols *symbols, const uint8_t *bytes, size_t size, size_t *used) {
    decoder d = {.symbols = symbols};
    const char *expected = read_all(&d, bytes, size, used);
    free(d.tables);
    free(d.lanes);
    return expected;
}
