/* Kernels in plain C, for any CPU. */
#define LANES 4
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#include "functions.h"
#include "plain.h"
#include "steps.h"

STEPS(steps8, plain8_positions, 0)
STEPS(steps16, plain16_positions, 0)
STEPS(steps_float, plain_float_positions, 0)

const sv_kernels sv_portable_kernels = {
    .functions = &functions, .quantize8 = quantize8, .quantize16 = quantize16,
    .steps = {
        [SV_INT8] = {steps8, .window = 256, .dense = 1, .block = 1.2f, .sparse = 2},
        [SV_INT16] = {steps16, .window = 256, .dense = 1, .block = 1.2f, .sparse = 2},
        [SV_FLOAT32] = {steps_float, .window = 256, .dense = 1, .block = 1.2f, .sparse = 3},
    },
};
