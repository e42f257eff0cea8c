#include "inflate.h"

#include <string.h>

#define LONGEST 15 /* bits of a code */
#define QUICK 9    /* bits of a code that is found by one look */
#define SYMBOLS 288

typedef struct {
    const uint8_t *next, *end;
    uint64_t bits;   /* not used yet, the next one lowest */
    unsigned held;   /* how many of them */
    unsigned beyond; /* of these, how many lie beyond the end */
} reader;

/* A canonical prefix code. */
typedef struct {
    uint16_t count[LONGEST + 1]; /* codes of each length */
    uint16_t symbol[SYMBOLS];    /* in the order of their codes */
    uint16_t quick[1 << QUICK];  /* by the next bits: symbol << 4 | length, 0 for a longer code */
} code;

/* ---- bits ------------------------------------------------------------------------------------------------ */

/* Makes at least 32 bits available; zeros follow the last byte. */
static void fill(reader *in) {
    while (in->held <= 56) {
        if (in->next < in->end)
            in->bits |= (uint64_t)*in->next++ << in->held;
        else
            in->beyond += 8;
        in->held += 8;
        if (in->held >= 32 && in->next == in->end)
            break;
    }
}

static void drop(reader *in, unsigned count) {
    in->bits >>= count;
    in->held -= count;
}

static uint32_t take(reader *in, unsigned count) {
    if (in->held < count)
        fill(in);
    uint32_t value = (uint32_t)(in->bits & ((1u << count) - 1));
    drop(in, count);
    return value;
}

static int has_read_beyond(const reader *in) { return in->held < in->beyond; }

/* ---- codes ----------------------------------------------------------------------------------------------- */

/* The code with these lengths. Fails unless it is complete; a single code of one bit, or none, will do if `few`. */
static int make_code(code *made, const uint8_t *lengths, unsigned symbols, int few) {
    uint16_t offset[LONGEST + 2] = {0}, next[LONGEST + 2] = {0};
    memset(made, 0, sizeof *made);
    for (unsigned s = 0; s < symbols; s++)
        made->count[lengths[s]]++;
    unsigned used = symbols - made->count[0];
    made->count[0] = 0;
    int32_t left = 1; /* codes of this length that are not taken */
    for (unsigned length = 1; length <= LONGEST; length++) {
        left = (left << 1) - made->count[length];
        if (left < 0)
            return 0;
        offset[length + 1] = (uint16_t)(offset[length] + made->count[length]);
        next[length + 1] = (uint16_t)((next[length] + made->count[length]) << 1);
    }
    if (left > 0 && !(few && used == made->count[1]))
        return 0;
    for (unsigned s = 0; s < symbols; s++) {
        unsigned length = lengths[s];
        if (!length)
            continue;
        made->symbol[offset[length]++] = (uint16_t)s;
        unsigned forward = next[length]++, turned = 0;
        if (length > QUICK)
            continue;
        for (unsigned bit = 0; bit < length; bit++)
            turned |= (forward >> bit & 1) << (length - 1 - bit);
        for (; turned < 1u << QUICK; turned += 1u << length)
            made->quick[turned] = (uint16_t)(s << 4 | length);
    }
    return 1;
}

/* The next symbol, or -1 if there is no such code. */
static int decode(reader *in, const code *from) {
    if (in->held < LONGEST)
        fill(in);
    unsigned quick = from->quick[in->bits & ((1u << QUICK) - 1)];
    if (quick) {
        drop(in, quick & 15);
        return (int)(quick >> 4);
    }
    int32_t number = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= LONGEST; length++) {
        number |= (int32_t)(in->bits >> (length - 1) & 1);
        int32_t count = from->count[length];
        if (number - first < count) {
            drop(in, length);
            return from->symbol[index + number - first];
        }
        index += count;
        first = (first + count) << 1;
        number <<= 1;
    }
    return -1;
}

/* The codes of a block that brings its own. */
static int read_codes(reader *in, code *literals, code *distances) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[286 + 30 + 138] = {0}, short_lengths[19] = {0};
    unsigned of_literals = take(in, 5) + 257, of_distances = take(in, 5) + 1, of_lengths = take(in, 4) + 4;
    if (of_literals > 286 || of_distances > 30)
        return 0;
    for (unsigned i = 0; i < of_lengths; i++)
        short_lengths[order[i]] = (uint8_t)take(in, 3);
    if (!make_code(literals, short_lengths, 19, 0))
        return 0;
    unsigned all = of_literals + of_distances, known = 0;
    while (known < all) {
        int symbol = decode(in, literals);
        if (symbol < 0 || (symbol == 16 && !known))
            return 0;
        if (symbol < 16) {
            lengths[known++] = (uint8_t)symbol;
            continue;
        }
        unsigned times = symbol == 16 ? 3 + take(in, 2) : symbol == 17 ? 3 + take(in, 3) : 11 + take(in, 7);
        memset(lengths + known, symbol == 16 ? lengths[known - 1] : 0, times);
        known += times;
    }
    return known == all && lengths[256] && make_code(literals, lengths, of_literals, 1)
        && make_code(distances, lengths + of_literals, of_distances, 1);
}

static void make_fixed_codes(code *literals, code *distances) {
    uint8_t lengths[SYMBOLS];
    for (unsigned s = 0; s < SYMBOLS; s++)
        lengths[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
    make_code(literals, lengths, SYMBOLS, 0);
    memset(lengths, 5, 32);
    make_code(distances, lengths, 32, 0);
}

/* ---- blocks ---------------------------------------------------------------------------------------------- */

/* Each gives the number of bytes that are known after it, or SIZE_MAX if it failed. */
static size_t copy_stored(reader *in, uint8_t *plain, size_t done, size_t count) {
    take(in, in->held % 8);
    uint32_t length = take(in, 16);
    if (take(in, 16) != (length ^ 0xFFFF) || length > count - done)
        return SIZE_MAX;
    while (length && in->held) {
        plain[done++] = (uint8_t)take(in, 8);
        length--;
    }
    if ((size_t)(in->end - in->next) < length)
        return SIZE_MAX;
    if (length)
        memcpy(plain + done, in->next, length);
    in->next += length;
    return done + length;
}

static size_t decode_block(reader *in, const code *literals, const code *distances, uint8_t *plain, size_t done,
                           size_t count) {
    static const uint16_t lengths[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint16_t ways[30]
        = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
           193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    for (;;) {
        int symbol = decode(in, literals);
        if (symbol < 0 || has_read_beyond(in))
            return SIZE_MAX;
        if (symbol == 256)
            return done;
        if (symbol < 256) {
            if (done == count)
                return SIZE_MAX;
            plain[done++] = (uint8_t)symbol;
            continue;
        }
        unsigned place = (unsigned)symbol - 257;
        if (place >= 29)
            return SIZE_MAX;
        size_t length = lengths[place] + take(in, place < 8 || place == 28 ? 0 : (place - 4) / 4);
        int far = decode(in, distances);
        if (far < 0 || far >= 30)
            return SIZE_MAX;
        size_t way = ways[far] + take(in, far < 4 ? 0 : (unsigned)(far - 2) / 2);
        if (way > done || length > count - done)
            return SIZE_MAX;
        for (; length; length--, done++)
            plain[done] = plain[done - way];
    }
}

int sv_inflate(uint8_t *plain, size_t count, const uint8_t *bytes, size_t size) {
    reader in = {bytes, bytes + size, 0, 0, 0};
    code literals, distances;
    size_t done = 0;
    uint32_t last;
    do {
        last = take(&in, 1);
        switch (take(&in, 2)) {
        case 0:
            done = copy_stored(&in, plain, done, count);
            break;
        case 1:
            make_fixed_codes(&literals, &distances);
            done = decode_block(&in, &literals, &distances, plain, done, count);
            break;
        case 2:
            if (!read_codes(&in, &literals, &distances))
                return 0;
            done = decode_block(&in, &literals, &distances, plain, done, count);
            break;
        default:
            return 0;
        }
        if (done == SIZE_MAX || has_read_beyond(&in))
            return 0;
    } while (!last);
    return done == count && in.next == in.end && in.held - in.beyond < 8;
}

static uint32_t adler32(const uint8_t *bytes, size_t size) {
    uint32_t a = 1, b = 0;
    while (size) {
        size_t block = size < 5552 ? size : 5552; /* as many as cannot overflow */
        size -= block;
        for (; block; block--)
            b += a += *bytes++;
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

int sv_inflate_zlib(uint8_t *plain, size_t count, const uint8_t *bytes, size_t size) {
    if (size < 6 || (bytes[0] & 15) != 8 || bytes[0] >> 4 > 7 || bytes[1] & 32)
        return 0;
    if ((bytes[0] << 8 | bytes[1]) % 31 || !sv_inflate(plain, count, bytes + 2, size - 6))
        return 0;
    const uint8_t *end = bytes + size - 4;
    uint32_t wanted = (uint32_t)end[0] << 24 | (uint32_t)end[1] << 16 | (uint32_t)end[2] << 8 | end[3];
    return sv_checksum_fits(wanted, adler32(plain, count));
}

/* ---- checksums ------------------------------------------------------------------------------------------- */

/* What half a byte adds to the checksum, with so many halves after it. */
static const uint32_t halves[8][16] = {
    {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C, 0xEDB88320,
     0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C},
    {0x00000000, 0x77073096, 0xEE0E612C, 0x990951BA, 0x076DC419, 0x706AF48F, 0xE963A535, 0x9E6495A3, 0x0EDB8832,
     0x79DCB8A4, 0xE0D5E91E, 0x97D2D988, 0x09B64C2B, 0x7EB17CBD, 0xE7B82D07, 0x90BF1D91},
    {0x00000000, 0x4AC21251, 0x958424A2, 0xDF4636F3, 0xF0794F05, 0xBABB5D54, 0x65FD6BA7, 0x2F3F79F6, 0x3B83984B,
     0x71418A1A, 0xAE07BCE9, 0xE4C5AEB8, 0xCBFAD74E, 0x8138C51F, 0x5E7EF3EC, 0x14BCE1BD},
    {0x00000000, 0x191B3141, 0x32366282, 0x2B2D53C3, 0x646CC504, 0x7D77F445, 0x565AA786, 0x4F4196C7, 0xC8D98A08,
     0xD1C2BB49, 0xFAEFE88A, 0xE3F4D9CB, 0xACB54F0C, 0xB5AE7E4D, 0x9E832D8E, 0x87981CCF},
    {0x00000000, 0x1C26A370, 0x384D46E0, 0x246BE590, 0x709A8DC0, 0x6CBC2EB0, 0x48D7CB20, 0x54F16850, 0xE1351B80,
     0xFD13B8F0, 0xD9785D60, 0xC55EFE10, 0x91AF9640, 0x8D893530, 0xA9E2D0A0, 0xB5C473D0},
    {0x00000000, 0x01C26A37, 0x0384D46E, 0x0246BE59, 0x0709A8DC, 0x06CBC2EB, 0x048D7CB2, 0x054F1685, 0x0E1351B8,
     0x0FD13B8F, 0x0D9785D6, 0x0C55EFE1, 0x091AF964, 0x08D89353, 0x0A9E2D0A, 0x0B5C473D},
    {0x00000000, 0x5019579F, 0xA032AF3E, 0xF02BF8A1, 0x9B14583D, 0xCB0D0FA2, 0x3B26F703, 0x6B3FA09C, 0xED59B63B,
     0xBD40E1A4, 0x4D6B1905, 0x1D724E9A, 0x764DEE06, 0x2654B999, 0xD67F4138, 0x866616A7},
    {0x00000000, 0xB8BC6765, 0xAA09C88B, 0x12B5AFEE, 0x8F629757, 0x37DEF032, 0x256B5FDC, 0x9DD738B9, 0xC5B428EF,
     0x7D084F8A, 0x6FBDE064, 0xD7018701, 0x4AD6BFB8, 0xF26AD8DD, 0xE0DF7733, 0x58631056},
};

uint32_t sv_crc32(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xFFFFFFFF;
    for (; size >= 4; size -= 4, bytes += 4) {
        uint32_t four;
        memcpy(&four, bytes, 4);
        crc ^= four;
        crc = halves[7][crc & 15] ^ halves[6][crc >> 4 & 15] ^ halves[5][crc >> 8 & 15] ^ halves[4][crc >> 12 & 15]
            ^ halves[3][crc >> 16 & 15] ^ halves[2][crc >> 20 & 15] ^ halves[1][crc >> 24 & 15] ^ halves[0][crc >> 28];
    }
    for (; size; size--) {
        crc ^= *bytes++;
        crc = crc >> 4 ^ halves[0][crc & 15];
        crc = crc >> 4 ^ halves[0][crc & 15];
    }
    return ~crc;
}

int sv_checksum_fits(uint32_t wanted, uint32_t found) {
#ifdef SV_FUZZING
    (void)wanted, (void)found;
    return 1;
#else
    return wanted == found;
#endif
}
