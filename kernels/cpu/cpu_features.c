/*
 * CPUID -> instruction-set level. No state. Bit positions: Intel SDM volume 2A, CPUID; AMD APM
 * volume 3, appendix E.
 */
#include "kernels/cpu/cpu_features.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define LEAF1_ECX_FMA (1u << 12)
#define LEAF1_ECX_OSXSAVE (1u << 27)
#define LEAF7_EBX_AVX2 (1u << 5)
#define LEAF7_EBX_AVX512F (1u << 16)
#define LEAF7_EBX_AVX512DQ (1u << 17)
#define LEAF7_EBX_AVX512BW (1u << 30)
#define LEAF7_EBX_AVX512VL (1u << 31)
#define LEAF7_1_EAX_AVX512BF16 (1u << 5)
#define XCR0_YMM 0x6u  /* SSE and AVX state */
#define XCR0_ZMM 0xe6u /* and opmask, ZMM0-15 high halves, ZMM16-31 */

umi_cpuid umi_cpuid_read(void)
{
    umi_cpuid cpuid = {0};
#if defined(__x86_64__)
    uint32_t a, b, c, d;

    if (__get_cpuid(1, &a, &b, &c, &d))
        cpuid.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        cpuid.leaf7_ebx = b;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
            cpuid.leaf7_1_eax = a;
    }
    if (cpuid.leaf1_ecx & LEAF1_ECX_OSXSAVE) {
        __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
        cpuid.xcr0 = (uint64_t)d << 32 | a;
    }
#endif
    return cpuid;
}

static bool has(uint64_t value, uint64_t bits)
{
    return (value & bits) == bits;
}

umi_cpu_level umi_cpu_level_decide(const umi_cpuid *cpuid)
{
    const uint32_t avx512 =
        LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;

    if (!has(cpuid->leaf1_ecx, LEAF1_ECX_FMA | LEAF1_ECX_OSXSAVE) ||
        !has(cpuid->leaf7_ebx, LEAF7_EBX_AVX2) || !has(cpuid->xcr0, XCR0_YMM))
        return UMI_LEVEL_PORTABLE;
    if (!has(cpuid->leaf7_ebx, avx512) || !has(cpuid->xcr0, XCR0_ZMM))
        return UMI_LEVEL_AVX2;
    return has(cpuid->leaf7_1_eax, LEAF7_1_EAX_AVX512BF16) ? UMI_LEVEL_AVX512BF16
                                                           : UMI_LEVEL_AVX512;
}

static const char *const names[UMI_LEVEL_COUNT] = {"portable", "avx2", "avx512", "avx512bf16"};

const char *umi_cpu_level_name(umi_cpu_level level)
{
    return names[level];
}

um_status umi_cpu_level_parse(const char *name, umi_cpu_level *out, um_err *err)
{
    for (int level = 0; level < UMI_LEVEL_COUNT; level++)
        if (strcmp(name, names[level]) == 0) {
            *out = (umi_cpu_level)level;
            return UM_OK;
        }
    return um_fail_field(err, UM_E_VALUE, "isa",
                         "isa is '%s'; known are auto, portable, avx2, avx512, avx512bf16", name);
}
