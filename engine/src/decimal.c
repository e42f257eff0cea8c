#include "json.h"

#include <math.h>
#include <string.h>

/* strtod asks the locale how a fraction begins. This one does not, and need not be fast. */

#define DIGITS 800  /* no double, nor the middle of two, has more: what follows is 0 or is not */
#define LARGEST 310 /* exponents of ten beyond which all is infinite or zero */
#define SMALLEST (-345)
#define WORDS 240 /* enough for DIGITS digits, to be divided by 10^(DIGITS - SMALLEST) */

/* A whole number of any length, the lowest word first. */
typedef struct {
    uint32_t words[WORDS];
    size_t used;
} whole;

static void multiply_add(whole *n, uint32_t factor, uint32_t term) {
    uint64_t carry = term;
    for (size_t i = 0; i < n->used; i++) {
        carry += (uint64_t)n->words[i] * factor;
        n->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry)
        n->words[n->used++] = (uint32_t)carry;
}

/* Divides, rounding down; gives what was left. */
static uint32_t divide(whole *n, uint32_t by) {
    uint64_t rest = 0;
    for (size_t i = n->used; i-- > 0;) {
        rest = rest << 32 | n->words[i];
        n->words[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    while (n->used && !n->words[n->used - 1])
        n->used--;
    return (uint32_t)rest;
}

static uint32_t power_of_ten(int64_t exponent) {
    uint32_t power = 1;
    while (exponent-- > 0)
        power *= 10;
    return power;
}

double sv_decimal(const char *digits, size_t count, int64_t exponent) {
    while (count && *digits == '0')
        digits++, count--;
    while (count && digits[count - 1] == '0')
        count--, exponent++;
    if (!count || exponent + (int64_t)count < SMALLEST)
        return 0;
    if (exponent + (int64_t)count > LARGEST)
        return HUGE_VAL;

    whole n = {{0}, 0};
    int lost = count > DIGITS; /* whether something that is not 0 was left out below */
    if (lost)
        exponent += (int64_t)(count - DIGITS), count = DIGITS;
    for (size_t i = 0; i < count; i++)
        multiply_add(&n, 10, (uint32_t)(digits[i] - '0'));
    while (exponent > 0) {
        int64_t part = exponent < 9 ? exponent : 9;
        multiply_add(&n, power_of_ten(part), 0);
        exponent -= part;
    }

    /* Words of zeros below, so that more than 64 bits are left after dividing: a power of ten takes 3.33 bits. */
    size_t shift = (size_t)(-exponent > 0 ? -exponent : 0) * 10 / 3 / 32 + 4;
    memmove(n.words + shift, n.words, n.used * sizeof n.words[0]);
    memset(n.words, 0, shift * sizeof n.words[0]);
    n.used += shift;
    while (exponent < 0) {
        int64_t part = exponent > -9 ? -exponent : 9;
        lost |= divide(&n, power_of_ten(part)) != 0;
        exponent += part;
    }

    /* The highest 64 bits and whether there are others below make the double. */
    size_t top = n.used - 1;
    int high = 32;
    while (!(n.words[top] >> (high - 1)))
        high--;
    uint64_t bits = (uint64_t)n.words[top] << 32 | n.words[top - 1];
    bits = bits << (32 - high) | (uint64_t)n.words[top - 2] >> high;
    lost |= (n.words[top - 2] & (uint32_t)((1ull << high) - 1)) != 0;
    for (size_t i = 0; i + 2 < top; i++)
        lost |= n.words[i] != 0;
    return ldexp((double)(bits | (uint64_t)lost), (int)(top - shift) * 32 + high - 64);
}
