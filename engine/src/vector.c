/* The choice of kernels. */
#include "kernels/kernels.h"

static sv_instructions best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni"))
        return SV_AVX512;
    return avx2 ? SV_AVX2 : SV_PORTABLE;
#elif defined(__aarch64__)
    return SV_NEON;
#else
    return SV_PORTABLE;
#endif
}

sv_machine sv_machine_for(const sv_options *options) {
    sv_machine machine = {options ? options->precision : SV_INT8, options ? options->instructions : SV_BEST};
    sv_instructions most = best();
    int known = machine.instructions == SV_PORTABLE || (machine.instructions == SV_NEON) == (most == SV_NEON);
    if (machine.instructions == SV_BEST)
        machine.instructions = most;
    else if (!known)
        machine.instructions = SV_PORTABLE;
    else if (machine.instructions > most)
        machine.instructions = most;
    return machine;
}

const sv_kernels *sv_kernels_for(sv_machine machine) {
    switch (machine.instructions) {
#if defined(__x86_64__)
    case SV_AVX512:
        return &sv_avx512_kernels;
    case SV_AVX2:
        return &sv_avx2_kernels;
#elif defined(__aarch64__)
    case SV_NEON:
        return &sv_neon_kernels;
#endif
    default:
        return &sv_portable_kernels;
    }
}

const sv_functions *sv_functions_for(sv_machine machine) { return sv_kernels_for(machine)->functions; }
