/* The discrete Fourier transform of real values, of any length. */
#ifndef SV_FFT_H
#define SV_FFT_H

#include "common.h"

typedef struct sv_fft sv_fft;

sv_status sv_make_fft(const sv_fft **fft, uint32_t n, sv_pool *pool, sv_failure *failure);
size_t sv_fft_scratch(const sv_fft *fft); /* floats that both need to work with */

/* spectrum [n / 2 + 1][2], real and imaginary part, of x [n]; and back, with the factor 1 / n. */
void sv_fft_forward(const sv_fft *fft, float *spectrum, const float *x, float *scratch);
void sv_fft_inverse(const sv_fft *fft, float *x, const float *spectrum, float *scratch);

#endif
