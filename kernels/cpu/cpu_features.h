/*
 * Which instruction-set levels a CPU offers. Reading the CPU and deciding are apart, so that the
 * decision is tested on values recorded from other machines.
 */
#ifndef UM_KERNELS_CPU_FEATURES_H
#define UM_KERNELS_CPU_FEATURES_H

#include "core/base/status.h"

typedef enum umi_cpu_level {
    UMI_LEVEL_PORTABLE,
    UMI_LEVEL_AVX2,       /* AVX2 and FMA */
    UMI_LEVEL_AVX512,     /* F, BW, DQ, VL */
    UMI_LEVEL_AVX512BF16, /* and BF16 */
    UMI_LEVEL_COUNT,
} umi_cpu_level;

/* What CPUID and XGETBV say. All zero where the instruction does not exist. */
typedef struct umi_cpuid {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t leaf7_1_eax; /* leaf 7, subleaf 1 */
    uint64_t xcr0;        /* register state that the operating system saves */
} umi_cpuid;

umi_cpuid umi_cpuid_read(void);
umi_cpu_level umi_cpu_level_decide(const umi_cpuid *cpuid);

const char *umi_cpu_level_name(umi_cpu_level level);
/* "avx2" -> UMI_LEVEL_AVX2; UM_E_VALUE lists the names. */
um_status umi_cpu_level_parse(const char *name, umi_cpu_level *out, um_err *err);

#endif
