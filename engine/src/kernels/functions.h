/* vector.h and the float kernels for one kind of instructions. The file that includes this has set LANES, floats of a
 * register, and MULTIPLY_ADD(a, b, c) = a b + c; it gets `functions`, `quantize8` and `quantize16`. */
#include <string.h>

#include "kernels.h"

typedef float reals __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef int32_t whole __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE reals all(float value) { return value - (reals){0}; }
INLINE bits as_bits(reals x) {
    bits y;
    memcpy(&y, &x, sizeof y);
    return y;
}
INLINE reals as_reals(bits x) {
    reals y;
    memcpy(&y, &x, sizeof y);
    return y;
}
INLINE reals load(const float *x) {
    reals y;
    memcpy(&y, x, sizeof y);
    return y;
}
INLINE void store(float *y, reals x) { memcpy(y, &x, sizeof x); }
INLINE reals load_some(const float *x, size_t count) {
    reals y = {0};
    if (count >= LANES)
        return load(x);
    memcpy(&y, x, 4 * count);
    return y;
}
INLINE void store_some(float *y, reals x, size_t count) { memcpy(y, &x, count < LANES ? 4 * count : sizeof x); }
INLINE reals choose(whole mask, reals a, reals b) {
    return as_reals(((bits)mask & as_bits(a)) | (~(bits)mask & as_bits(b)));
}
INLINE reals magnitude(reals x) { return as_reals(as_bits(x) & 0x7fffffffu); }

/* The nearest whole number of |x| < 2^22, halves to even: as bits that count from those of SHIFTER, and as a float. */
#define SHIFTER 12582912.0f
#define SHIFTER_BITS 0x4b400000u
INLINE bits rounded(reals x) { return as_bits(x + SHIFTER) - SHIFTER_BITS; }

/* exp(r) 2^n of |r| <= 0.35 and n from -252 to 252. */
INLINE reals exp_parts(reals r, bits n) {
    reals p = all(1.0f / 5040);
    p = MULTIPLY_ADD(p, r, all(1.0f / 720));
    p = MULTIPLY_ADD(p, r, all(1.0f / 120));
    p = MULTIPLY_ADD(p, r, all(1.0f / 24));
    p = MULTIPLY_ADD(p, r, all(1.0f / 6));
    p = MULTIPLY_ADD(p, r, all(0.5f));
    p = MULTIPLY_ADD(p, r * r, r) + 1.0f;
    bits half = (bits)((whole)n >> 1); /* by two factors: 2^n alone may be out of range */
    return p * as_reals((half + 127u) << 23) * as_reals((n - half + 127u) << 23);
}

INLINE reals exp_of(reals x) {
    x = choose(x > 89.0f, all(89.0f), x);
    x = choose(x < -104.0f, all(-104.0f), x);
    bits n = rounded(x * 1.44269504f);
    reals turns = x * 1.44269504f + SHIFTER - SHIFTER;
    reals r = MULTIPLY_ADD(turns, all(-0.693359375f), x); /* ln 2 in two parts, the first of few bits */
    return exp_parts(MULTIPLY_ADD(turns, all(2.12194440e-4f), r), n);
}

/* x > 0 as m 2^n, m from the root of 1/2 to that of 2; ln(m). */
INLINE reals log_parts(reals x, reals *n) {
    whole tiny = x < 1.17549435e-38f;
    bits scaled = as_bits(choose(tiny, x * 8388608.0f, x));
    bits above = scaled - 0x3f3504f3u; /* bits of the root of 1/2 */
    *n = (as_reals((bits)((whole)above >> 23) + SHIFTER_BITS) - SHIFTER) - choose(tiny, all(23.0f), all(0.0f));
    reals f = as_reals((above & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    reals p = all(7.0376836292e-2f);
    p = MULTIPLY_ADD(p, f, all(-1.1514610310e-1f));
    p = MULTIPLY_ADD(p, f, all(1.1676998740e-1f));
    p = MULTIPLY_ADD(p, f, all(-1.2420140846e-1f));
    p = MULTIPLY_ADD(p, f, all(1.4249322787e-1f));
    p = MULTIPLY_ADD(p, f, all(-1.6668057665e-1f));
    p = MULTIPLY_ADD(p, f, all(2.0000714765e-1f));
    p = MULTIPLY_ADD(p, f, all(-2.4999993993e-1f));
    p = MULTIPLY_ADD(p, f, all(3.3333331174e-1f));
    reals square = f * f;
    return MULTIPLY_ADD(p * f, square, square * -0.5f) + f;
}

/* `y` where x is greater than 0 and finite; -inf of 0, infinity and NaN as they are, NaN below 0. */
INLINE reals log_edges(reals x, reals y) {
    y = choose(x > 0.0f, y, choose(x == 0.0f, all(-__builtin_inff()), all(__builtin_nanf(""))));
    return choose(x == __builtin_inff(), x, y);
}

INLINE reals log_of(reals x) {
    reals n, l = log_parts(x, &n);
    return log_edges(x, MULTIPLY_ADD(n, all(0.693359375f), MULTIPLY_ADD(n, all(-2.12194440e-4f), l)));
}

INLINE reals tanh_of(reals x) {
    reals size = magnitude(x), square = x * x;
    reals p = all(-5.70498872745e-3f);
    p = MULTIPLY_ADD(p, square, all(2.06390887954e-2f));
    p = MULTIPLY_ADD(p, square, all(-5.37397155531e-2f));
    p = MULTIPLY_ADD(p, square, all(1.33314422036e-1f));
    p = MULTIPLY_ADD(p, square, all(-3.33332819422e-1f));
    reals near = MULTIPLY_ADD(p * square, x, x);
    reals far = 1.0f - 2.0f / (exp_of(size + size) + 1.0f);
    far = as_reals(as_bits(far) | (as_bits(x) & 0x80000000u));
    return choose(size < 0.625f, near, far);
}

INLINE reals sigmoid_of(reals x) { return 1.0f / (1.0f + exp_of(-x)); }
INLINE reals elu_of(reals x) { return choose(x > 0.0f, x, exp_of(x) - 1.0f); }

INLINE reals log1p_of(reals x) {
    reals u = x + 1.0f, lost = (x - (u - 1.0f)) / u; /* what the sum has rounded off */
    return log_of(u) + choose(magnitude(lost) < 1.0f, lost, all(0.0f));
}

/* 2^(e log2 x); of e times the power of two in x nothing is rounded off. */
INLINE reals power_of(reals x, float exponent, float first, float rest) {
    reals n, l = log_parts(x, &n) * 1.44269504f;
    reals turns = MULTIPLY_ADD(n, all(exponent), l * exponent);
    turns = choose(turns > 250.0f, all(250.0f), turns);
    turns = choose(turns < -250.0f, all(-250.0f), turns);
    bits k = rounded(turns);
    turns = turns + SHIFTER - SHIFTER;
    reals r = MULTIPLY_ADD(n, all(first), -turns) + MULTIPLY_ADD(n, all(rest), l * exponent);
    r = choose(magnitude(r) < 1.0f, r, all(0.0f));
    return choose(x > 0.0f, exp_parts(r * 0.693147181f, k), all(__builtin_nanf("")));
}

/* Defines NAME as EXPRESSION of a and b, elementwise; DECLARE: its arguments. */
#define EACH(NAME, DECLARE, SECOND, EXPRESSION)                                                                        \
    static void NAME(float *y, DECLARE, size_t count) {                                                                \
        size_t i = 0;                                                                                                  \
        for (; i + LANES <= count; i += LANES) {                                                                       \
            reals a = load(first + i), b = load(SECOND + i);                                                           \
            (void)b;                                                                                                   \
            store(y + i, EXPRESSION);                                                                                  \
        }                                                                                                              \
        if (i < count) {                                                                                               \
            reals a = load_some(first + i, count - i), b = load_some(SECOND + i, count - i);                           \
            (void)b;                                                                                                   \
            store_some(y + i, EXPRESSION, count - i);                                                                  \
        }                                                                                                              \
    }
#define COMMA ,
#define ONE const float *first
#define TWO const float *first COMMA const float *second

EACH(map_exp, ONE, first, exp_of(a))
EACH(map_log, ONE, first, log_of(a))
EACH(map_tanh, ONE, first, tanh_of(a))
EACH(map_sigmoid, ONE, first, sigmoid_of(a))
EACH(map_elu, ONE, first, elu_of(a))
EACH(map_log1p, ONE, first, log1p_of(a))
EACH(map_power_parts, ONE COMMA float exponent COMMA float leading COMMA float rest, first,
     power_of(a, exponent, leading, rest))
EACH(map_gate, TWO, second, a *sigmoid_of(b))
EACH(map_add, TWO, second, a + b)
EACH(map_sub, TWO, second, a - b)
EACH(map_mul, TWO, second, a *b)
EACH(map_div, TWO, second, a / b)
EACH(map_affine, ONE COMMA float scale COMMA float shift, first, a *scale + shift)

static void map_power(float *y, const float *x, float exponent, size_t count) {
    uint32_t leading; /* 12 bits: exact times any power of two's exponent */
    memcpy(&leading, &exponent, 4);
    leading &= 0xfffff000u;
    float first;
    memcpy(&first, &leading, 4);
    map_power_parts(y, x, exponent, first, exponent - first, count);
}

static void map_channels(float *y, const float *x, const float *scale, const float *shift, size_t channels,
                         size_t places) {
    for (size_t p = 0; p < places; p++, x += channels, y += channels) {
        size_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            store(y + c, load(x + c) * load(scale + c) + load(shift + c));
        for (; c < channels; c++)
            y[c] = x[c] * scale[c] + shift[c];
    }
}

INLINE reals prelu_of(reals x, reals slope) { return choose(x < 0.0f, x * slope, x); }

static void map_prelu(float *y, const float *x, const float *slope, size_t channels, size_t places) {
    if (channels == 1)
        for (size_t i = 0, left = places; i < places; i += LANES, left -= LANES)
            store_some(y + i, prelu_of(load_some(x + i, left), all(*slope)), left);
    else
        for (size_t p = 0; p < places; p++, x += channels, y += channels)
            for (size_t c = 0, left = channels; c < channels; c += LANES, left -= LANES)
                store_some(y + c, prelu_of(load_some(x + c, left), load_some(slope + c, left)), left);
}

static void map_lstm(const float *gates, float *cell, float *hidden, size_t size) {
    for (size_t j = 0; j < size; j += LANES) {
        size_t n = size - j < LANES ? size - j : LANES;
        const float *at = gates + j;
        reals i = load_some(at, n), f = load_some(at + size, n), g = load_some(at + 2 * size, n);
        reals o = load_some(at + 3 * size, n), c = load_some(cell + j, n);
        c = sigmoid_of(f) * c + sigmoid_of(i) * tanh_of(g);
        store_some(cell + j, c, n);
        store_some(hidden + j, sigmoid_of(o) * tanh_of(c), n);
    }
}

static void map_gru(const float *given, const float *heard, float *hidden, size_t size) {
    for (size_t j = 0; j < size; j += LANES) {
        size_t n = size - j < LANES ? size - j : LANES;
        const float *in = given + j, *own = heard + j;
        reals reset = sigmoid_of(load_some(in, n) + load_some(own, n));
        reals update = sigmoid_of(load_some(in + size, n) + load_some(own + size, n));
        reals fresh = tanh_of(load_some(in + 2 * size, n) + reset * load_some(own + 2 * size, n));
        store_some(hidden + j, fresh + update * (load_some(hidden + j, n) - fresh), n);
    }
}

INLINE float sum_of_lanes(reals x) {
    typedef float four __attribute__((vector_size(16)));
    four parts[LANES / 4], total = {0};
    memcpy(parts, &x, sizeof parts);
    for (int i = 0; i < LANES / 4; i++)
        total += parts[i];
    return (total[0] + total[2]) + (total[1] + total[3]);
}

static float reduce_sum(const float *x, size_t count) {
    reals a = {0}, b = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        a += load(x + i);
        b += load(x + i + LANES);
    }
    for (; i < count; i += LANES)
        a += load_some(x + i, count - i < LANES ? count - i : LANES);
    return sum_of_lanes(a + b);
}

static float reduce_squares(const float *x, float centre, size_t count) {
    reals a = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        reals d = load(x + i) - centre;
        a = MULTIPLY_ADD(d, d, a);
    }
    float total = sum_of_lanes(a);
    for (; i < count; i++)
        total += (x[i] - centre) * (x[i] - centre);
    return total;
}

INLINE void mix_lanes(float *y, const float *shares, const float *rows, size_t apart, size_t count, size_t lanes) {
    reals a = {0}, b = {0}, c = {0}, d = {0}; /* they need not wait for each other */
    size_t r = 0;
    for (; r + 4 <= count; r += 4, rows += 4 * apart) {
        a = MULTIPLY_ADD(all(shares[r]), load_some(rows, lanes), a);
        b = MULTIPLY_ADD(all(shares[r + 1]), load_some(rows + apart, lanes), b);
        c = MULTIPLY_ADD(all(shares[r + 2]), load_some(rows + 2 * apart, lanes), c);
        d = MULTIPLY_ADD(all(shares[r + 3]), load_some(rows + 3 * apart, lanes), d);
    }
    for (; r < count; r++, rows += apart)
        a = MULTIPLY_ADD(all(shares[r]), load_some(rows, lanes), a);
    store_some(y, (a + b) + (c + d), lanes);
}

/* The last register of a row ends where the row does, and is computed twice in part. */
static void map_mix(float *y, const float *shares, const float *rows, size_t apart, size_t size, size_t count) {
    size_t i = 0;
    for (; i + LANES <= size; i += LANES)
        mix_lanes(y + i, shares, rows + i, apart, count, LANES);
    if (i < size && i)
        mix_lanes(y + size - LANES, shares, rows + size - LANES, apart, count, LANES);
    else if (i < size)
        mix_lanes(y, shares, rows, apart, count, size);
}

/* Bits of floats without their sign are in the order of the floats, and those of NaN are the greatest. */
static float reduce_largest(const float *x, size_t count) {
    bits top = {0};
    for (size_t i = 0; i < count; i += LANES) {
        bits now = as_bits(magnitude(load_some(x + i, count - i < LANES ? count - i : LANES)));
        bits more = (bits)(now > top);
        top = (more & now) | (~more & top);
    }
    uint32_t most = 0;
    for (int i = 0; i < LANES; i++)
        most = top[i] > most ? top[i] : most;
    float largest;
    memcpy(&largest, &most, 4);
    return largest;
}

static const sv_functions functions = {
    .exp = map_exp,
    .log = map_log,
    .tanh = map_tanh,
    .sigmoid = map_sigmoid,
    .elu = map_elu,
    .log1p = map_log1p,
    .power = map_power,
    .gate = map_gate,
    .add = map_add,
    .sub = map_sub,
    .mul = map_mul,
    .div = map_div,
    .affine = map_affine,
    .channels = map_channels,
    .prelu = map_prelu,
    .lstm = map_lstm,
    .gru = map_gru,
    .mix = map_mix,
    .sum = reduce_sum,
    .sum_of_squares = reduce_squares,
    .largest = reduce_largest,
};

static void quantize8(uint8_t *codes, const float *x, size_t count, float factor, int zero) {
    typedef uint8_t bytes __attribute__((vector_size(LANES)));
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        bytes code = __builtin_convertvector(rounded(load(x + i) * factor) + (uint32_t)zero, bytes);
        memcpy(codes + i, &code, LANES);
    }
    if (i < count) {
        bits left = rounded(load_some(x + i, count - i) * factor) + (uint32_t)zero;
        for (size_t j = 0; i + j < count; j++)
            codes[i + j] = (uint8_t)left[j];
    }
}

static void quantize16(int16_t *codes, const float *x, size_t count, float factor) {
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        halves code = __builtin_convertvector(rounded(load(x + i) * factor), halves);
        memcpy(codes + i, &code, 2 * LANES);
    }
    if (i < count) {
        bits left = rounded(load_some(x + i, count - i) * factor);
        for (size_t j = 0; i + j < count; j++)
            codes[i + j] = (int16_t)left[j];
    }
}
