/* Mixed radices, each stage from one array into another (Stockham), so that the result is in order. Of an even length
 * half as many complex values are transformed, the even samples as real and the odd ones as imaginary parts. */
#include <math.h>
#include <string.h>

#include "fft.h"

#define MOST_FACTORS 32

struct sv_fft {
    uint32_t n, m; /* real samples; complex values: n / 2, or n if that is odd */
    uint32_t factors[MOST_FACTORS], factor_count;
    float *cosine, *sine;           /* of 2 pi k / m */
    float *real_cosine, *real_sine; /* of 2 pi k / n, k <= m */
};

static void fill(float *cosine, float *sine, uint32_t count, uint32_t n) {
    for (uint32_t k = 0; k < count; k++) {
        double angle = 6.283185307179586476925 * k / n;
        cosine[k] = (float)cos(angle);
        sine[k] = (float)sin(angle);
    }
}

sv_status sv_make_fft(const sv_fft **fft, uint32_t n, sv_pool *pool, sv_failure *failure) {
    sv_fft *made = sv_take(pool, 1, sizeof *made);
    uint32_t m = n % 2 ? n : n / 2;
    float *tables = sv_take(pool, 4 * (size_t)m + 2, sizeof *tables);
    if (!made || !tables)
        return sv_fail(failure, SV_NO_MEMORY, "no memory for a transform of %u samples", n);
    *made = (sv_fft){n, m, {0}, 0, tables, tables + m, tables + 2 * m, tables + 3 * m + 1};
    fill(made->cosine, made->sine, m, m);
    fill(made->real_cosine, made->real_sine, m + 1, n);
    /* Fours first: the loops of later stages are the longest, which is best for whatever factors are left. */
    for (uint32_t rest = m, p = 4; rest > 1; p = p == 4 ? 2 : p == 2 ? 3 : p + 2) {
        if (p > 4 && (uint64_t)p * p > rest)
            p = rest;
        for (; rest % p == 0; rest /= p)
            made->factors[made->factor_count++] = p;
    }
    *fft = made;
    return SV_OK;
}

size_t sv_fft_scratch(const sv_fft *fft) { return 4 * (size_t)fft->m; }

/* The stage of radix 4, with w = exp(-2 pi i / n):
 * y[q + s (4 j + k)] = w^(j k) sum over r of x[q + s (j + r n / 4)] (-i)^(r k). */
static void by_four(const sv_fft *fft, uint32_t n, uint32_t s, const float *restrict xr, const float *restrict xi,
                    float *restrict yr, float *restrict yi) {
    size_t quarter = (size_t)n / 4 * s;
    for (uint32_t j = 0; j < n / 4; j++) {
        float c1 = fft->cosine[j * s], s1 = fft->sine[j * s], c2 = fft->cosine[2 * j * s], s2 = fft->sine[2 * j * s];
        float c3 = fft->cosine[3 * j * s], s3 = fft->sine[3 * j * s];
        const float *ar = xr + (size_t)j * s, *ai = xi + (size_t)j * s;
        float *br = yr + (size_t)4 * j * s, *bi = yi + (size_t)4 * j * s;
        for (size_t q = 0; q < s; q++) {
            float er = ar[q] + ar[q + 2 * quarter], ei = ai[q] + ai[q + 2 * quarter];
            float fr = ar[q] - ar[q + 2 * quarter], fi = ai[q] - ai[q + 2 * quarter];
            float gr = ar[q + quarter] + ar[q + 3 * quarter], gi = ai[q + quarter] + ai[q + 3 * quarter];
            float hr = ar[q + quarter] - ar[q + 3 * quarter], hi = ai[q + quarter] - ai[q + 3 * quarter];
            float ur = fr + hi, ui = fi - hr, vr = er - gr, vi = ei - gi, wr = fr - hi, wi = fi + hr;
            br[q] = er + gr;
            bi[q] = ei + gi;
            br[q + s] = ur * c1 + ui * s1;
            bi[q + s] = ui * c1 - ur * s1;
            br[q + 2 * (size_t)s] = vr * c2 + vi * s2;
            bi[q + 2 * (size_t)s] = vi * c2 - vr * s2;
            br[q + 3 * (size_t)s] = wr * c3 + wi * s3;
            bi[q + 3 * (size_t)s] = wi * c3 - wr * s3;
        }
    }
}

/* The same of any radix p, by its definition. */
static void by_any(const sv_fft *fft, uint32_t n, uint32_t s, uint32_t p, const float *restrict xr,
                   const float *restrict xi, float *restrict yr, float *restrict yi) {
    uint32_t part = n / p;
    for (uint32_t j = 0; j < part; j++)
        for (uint32_t k = 0; k < p; k++) {
            float *br = yr + ((size_t)p * j + k) * s, *bi = yi + ((size_t)p * j + k) * s;
            memset(br, 0, s * sizeof *br);
            memset(bi, 0, s * sizeof *bi);
            for (uint32_t r = 0; r < p; r++) {
                /* w^(j k) exp(-2 pi i r k / p), both as a power of the m-th root. */
                size_t turn = ((size_t)j * k * s + (size_t)((uint64_t)r * k % p) * (fft->m / p)) % fft->m;
                float c = fft->cosine[turn], d = fft->sine[turn];
                size_t from = ((size_t)j + (size_t)r * part) * s;
                const float *ar = xr + from, *ai = xi + from;
                for (size_t q = 0; q < s; q++) {
                    br[q] += ar[q] * c + ai[q] * d;
                    bi[q] += ai[q] * c - ar[q] * d;
                }
            }
        }
}

/* Of complex values at `scratch`, real parts [m] before imaginary ones [m]; returns where the result lies likewise. */
static float *transform(const sv_fft *fft, float *scratch) {
    size_t m = fft->m;
    float *x = scratch, *y = scratch + 2 * m;
    uint32_t n = fft->m, s = 1;
    for (uint32_t i = 0; i < fft->factor_count; i++) {
        uint32_t p = fft->factors[i];
        if (p == 4)
            by_four(fft, n, s, x, x + m, y, y + m);
        else
            by_any(fft, n, s, p, x, x + m, y, y + m);
        n /= p;
        s *= p;
        float *turned = x;
        x = y;
        y = turned;
    }
    return x;
}

void sv_fft_forward(const sv_fft *fft, float *spectrum, const float *x, float *scratch) {
    uint32_t m = fft->m;
    int odd = fft->n % 2;
    for (uint32_t k = 0; k < m; k++) {
        scratch[k] = odd ? x[k] : x[2 * k];
        scratch[m + k] = odd ? 0 : x[2 * k + 1];
    }
    const float *re = transform(fft, scratch), *im = re + m;
    if (odd) {
        for (uint32_t k = 0; k <= m / 2; k++) {
            spectrum[2 * k] = re[k];
            spectrum[2 * k + 1] = im[k];
        }
        return;
    }
    for (uint32_t k = 0; k <= m; k++) {
        uint32_t a = k == m ? 0 : k, b = k ? m - k : 0;
        float er = 0.5f * (re[a] + re[b]), ei = 0.5f * (im[a] - im[b]); /* of the even samples */
        float dr = 0.5f * (im[a] + im[b]), di = 0.5f * (re[b] - re[a]); /* of the odd ones */
        float c = fft->real_cosine[k], s = fft->real_sine[k];
        spectrum[2 * k] = er + dr * c + di * s;
        spectrum[2 * k + 1] = ei + di * c - dr * s;
    }
}

void sv_fft_inverse(const sv_fft *fft, float *x, const float *spectrum, float *scratch) {
    uint32_t m = fft->m, n = fft->n;
    float scale = 1.0f / (float)n, *im = scratch, *re = scratch + m; /* exchanged: so the way forth is the way back */
    if (n % 2) {
        for (uint32_t k = 0; k < m; k++) {
            uint32_t a = k <= m / 2 ? k : m - k;
            re[k] = spectrum[2 * a];
            im[k] = k == 0 ? 0 : k == a ? spectrum[2 * a + 1] : -spectrum[2 * a + 1];
        }
    } else {
        for (uint32_t k = 0; k < m; k++) {
            const float *a = spectrum + 2 * k, *b = spectrum + 2 * (m - k);
            float ai = k ? a[1] : 0, bi = k ? b[1] : 0; /* the ends are real */
            float er = a[0] + b[0], ei = ai - bi, dr = a[0] - b[0], di = ai + bi;
            float c = fft->real_cosine[k], s = fft->real_sine[k];
            float ur = dr * c - di * s, ui = di * c + dr * s;
            re[k] = er - ui;
            im[k] = ei + ur;
        }
    }
    const float *back_im = transform(fft, scratch), *back_re = back_im + m;
    for (uint32_t k = 0; k < m; k++) {
        if (n % 2) {
            x[k] = back_re[k] * scale;
        } else {
            x[2 * k] = back_re[k] * scale;
            x[2 * k + 1] = back_im[k] * scale;
        }
    }
}
