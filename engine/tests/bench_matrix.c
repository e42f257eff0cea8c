/* What a product costs, layout against layout: sixteen bands of 1024 x 2048, as if they were the layers of one frame,
 * the least of many repetitions. Masks are uniform, or with rows and columns of log-normal scales, as pruned recurrent
 * matrices have them. Arguments: instructions (1 portable, 2 AVX2, 3 AVX-512, 4 NEON), rows, columns, positions,
 * precision (0 int8, 1 int16, 2 float32). */
#define _POSIX_C_SOURCE 199309L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/kernels/kernels.h"

#define MATRICES 16

float sv_element(const sv_tensor *tensor, size_t index) { return tensor->floats[index]; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static double uniform(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

static int rising(const void *a, const void *b) {
    return (*(const float *)a > *(const float *)b) - (*(const float *)a < *(const float *)b);
}

/* Whole numbers of a table of `values`, those kept that are of greatest size; `skew`: deviation of the logarithms of
 * the scales; `together`: rows that share a mask. */
static sv_nonzeros drawn(uint32_t rows, uint32_t columns, double density, double skew, uint32_t together, int values) {
    sv_nonzeros list = {rows,
                        columns,
                        calloc(rows + 1, 4),
                        malloc((size_t)rows * columns * 4),
                        malloc((size_t)rows * columns * 4),
                        malloc((size_t)rows * 4)};
    size_t count = (size_t)rows * columns;
    float *size = malloc(count * 4), *sorted = malloc(count * 4), *of_column = malloc(columns * 4);
    for (uint32_t c = 0; c < columns; c++)
        of_column[c] = (float)exp(skew * normal());
    for (uint32_t r = 0; r < rows; r++) {
        double of_row = exp(skew * normal());
        for (uint32_t c = 0; c < columns; c++)
            size[(size_t)r * columns + c] = r % together ? size[(size_t)(r - r % together) * columns + c]
                                                         : (float)(of_row * of_column[c] * fabs(normal()));
    }
    memcpy(sorted, size, count * 4);
    qsort(sorted, count, 4, rising);
    float least = density < 1 ? sorted[(size_t)((double)count * (1 - density))] : 0;
    uint32_t kept = 0;
    for (uint32_t r = 0; r < rows; r++) {
        list.begin[r] = kept;
        list.scale[r] = 0.01f;
        for (uint32_t c = 0; c < columns; c++)
            if (size[(size_t)r * columns + c] >= least) {
                int value = (int)(uniform() * (values - 1)) - (values - 1) / 2;
                list.column[kept] = c;
                list.value[kept++] = (float)(value ? value : values / 2);
            }
    }
    list.begin[rows] = kept;
    free(size);
    free(sorted);
    free(of_column);
    return list;
}

int main(int argc, char **argv) {
    sv_options options
        = {argc > 5 ? (sv_precision)atoi(argv[5]) : SV_INT8, argc > 1 ? (sv_instructions)atoi(argv[1]) : SV_BEST};
    uint32_t rows = argc > 2 ? (uint32_t)atoi(argv[2]) : 1024, columns = argc > 3 ? (uint32_t)atoi(argv[3]) : 2048;
    size_t positions = argc > 4 ? (size_t)atoi(argv[4]) : 1;
    sv_machine machine = sv_machine_for(&options);
    static const struct {
        const char *what;
        double density, skew;
        uint32_t together;
        int values;
        sv_layout layout;
    } rounds[] = {
        {"dense, 8 bits", 1, 0, 1, 255, SV_STEPS_DENSE},
        {"dense, 4 bits", 1, 0, 1, 15, SV_STEPS_DENSE},
        {"20 % sparse, 8 bits", 0.2, 0, 1, 255, SV_STEPS_SPARSE},
        {"20 % sparse, 4 bits", 0.2, 0, 1, 15, SV_STEPS_SPARSE},
        {"10 % sparse, 4 bits", 0.1, 0, 1, 15, SV_STEPS_SPARSE},
        {"5 % sparse, 8 bits", 0.05, 0, 1, 255, SV_STEPS_SPARSE},
        {"5 % sparse, 4 bits", 0.05, 0, 1, 15, SV_STEPS_SPARSE},
        {"5 % log-normal 0.5", 0.05, 0.5, 1, 15, SV_STEPS_SPARSE},
        {"5 % log-normal 1", 0.05, 1, 1, 15, SV_STEPS_SPARSE},
        {"3 % sparse, 4 bits", 0.03, 0, 1, 15, SV_STEPS_SPARSE},
        {"5 % blocks, 8 bits", 0.05, 0, 16, 255, SV_STEPS_BLOCK},
        {"5 % blocks, 4 bits", 0.05, 0, 16, 15, SV_STEPS_BLOCK},
    };
    printf("instructions %d, %u x %u, %zu positions\n", machine.instructions, rows, columns, positions);
    size_t count = columns * (positions + 1);
    float *x = malloc(count * 4), *y = malloc(rows * positions * 4);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)normal();
    sv_vector vector = {.codes = aligned_alloc(64, (sv_codes_bytes(count) + 63) / 64 * 64)};
    for (size_t round = 0; round < sizeof rounds / sizeof *rounds; round++) {
        const float dear = 1e9f;
        sv_nonzeros list = drawn(rows, columns, rounds[round].density, rounds[round].skew, rounds[round].together,
                                 rounds[round].values);
        sv_pool pool = {0};
        sv_matrix matrix[MATRICES];
        memset(matrix, 0, sizeof matrix);
        for (int m = 0; m < MATRICES; m++) {
            matrix[m].rows = rows;
            matrix[m].columns = columns;
            sv_kernels kernels = *sv_kernels_for(machine);
            sv_steps *steps = &kernels.steps[machine.precision];
            if (rounds[round].layout != SV_STEPS_DENSE)
                steps->dense = dear;
            if (rounds[round].layout != SV_STEPS_BLOCK)
                steps->block = dear;
            if (rounds[round].layout != SV_STEPS_SPARSE)
                steps->sparse = dear;
            if (!sv_lay_steps(&matrix[m], &list, machine.precision, &kernels, &pool))
                return 1;
        }
        sv_quantize(&vector, x, count, machine);
        double least = 1e30;
        for (int repeat = 0; repeat < 2000 && (repeat < 50 || least * repeat < 1e6); repeat++) {
            double begin = now();
            for (int m = 0; m < MATRICES; m++)
                sv_multiply(&matrix[m], &vector, 1, positions, columns, NULL, 1, y, rows, 0);
            double took = now() - begin;
            least = took < least ? took : least;
        }
        uint32_t steps = matrix[0].begin[(rows + SV_SLICE - 1) / SV_SLICE];
        printf("%-20s %9.1f us, fill %.3f\n", rounds[round].what, least,
               (double)list.begin[rows] / ((double)steps * (SV_STEP >> machine.precision)));
        fflush(stdout);
        sv_release(&pool);
        free(list.begin);
        free(list.column);
        free(list.value);
        free(list.scale);
    }
    return 0;
}
