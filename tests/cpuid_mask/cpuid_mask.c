/* Emulates the CPUID instruction of another x86-64 CPU; preloaded, Linux only.
 *
 * CPUID is made to trap with arch_prctl(ARCH_CPUID). The handler executes the real instruction and masks what it returns by the
 * profile that CPUID_MASK names: "haswell" (Intel, AVX2) or "zen2" (AMD, AVX2), cache sizes included. Instructions themselves
 * are not removed, /proc/cpuinfo and XGETBV still tell of the real CPU, and so does what ran before this library was loaded
 * (the dynamic linker's own choices). A process that cannot trap CPUID exits with status 86.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define CANNOT_TRAP 86

typedef struct {
    uint32_t eax, ebx, ecx, edx;
} Registers;

typedef int SigactionFunction(int, const struct sigaction *, struct sigaction *);

static SigactionFunction *real_sigaction;
static struct sigaction previous; /* what the process itself wants to do at SIGSEGV */
static int is_amd;

/* A system call that leaves errno alone: it is made between any two instructions of the process. */
static long system_call(long number, long first, long second, long third) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
    return result;
}

static Registers real_cpuid(uint32_t leaf, uint32_t subleaf) {
    Registers r;
    system_call(SYS_arch_prctl, ARCH_SET_CPUID, 1, 0);
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    system_call(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0);
    return r;
}

static Registers with_vendor(Registers r) {
    const char *vendor = is_amd ? "AuthenticAMD" : "GenuineIntel";
    memcpy(&r.ebx, vendor, 4);
    memcpy(&r.edx, vendor + 4, 4);
    memcpy(&r.ecx, vendor + 8, 4);
    return r;
}

/* The caches as leaf 4 (Intel) and leaf 0x8000001D (AMD) list them: L1 data, L1 instruction, L2, L3. */
static Registers cache(uint32_t index) {
    static const Registers haswell[] = {
        {0x1c004121, 0x01c0003f, 63, 0}, {0x1c004122, 0x01c0003f, 63, 0},    /* 32 KiB */
        {0x1c004143, 0x01c0003f, 511, 0}, {0x1c03c163, 0x04c0003f, 0x5fff, 6}, /* 256 KiB, 30 MiB */
    };
    static const Registers zen2[] = {
        {0x4121, 0x01c0003f, 63, 0}, {0x4122, 0x01c0003f, 63, 0},    /* 32 KiB */
        {0x4143, 0x01c0003f, 1023, 2}, {0xc163, 0x03c0003f, 0x3fff, 1}, /* 512 KiB, 16 MiB */
    };
    if (index > 3)
        return (Registers){0};
    return is_amd ? zen2[index] : haswell[index];
}

/* Structured extended features: FSGSBASE, BMI1, AVX2, SMEP, BMI2; INVPCID and ERMS are Intel's, ADX, RDSEED, SHA, ... Zen's. */
static Registers extended_features(uint32_t subleaf, Registers r) {
    if (subleaf != 0)
        return (Registers){0};
    return (Registers){0, r.ebx & (is_amd ? 0x219c01a9 : 0x000007ab), 0, 0};
}

/* The XSAVE area: x87, SSE and AVX state alone. */
static Registers extended_state(uint32_t subleaf) {
    switch (subleaf) {
        case 0: return (Registers){7, 832, 832, 0};
        case 1: return (Registers){1, 0, 0, 0};
        case 2: return (Registers){256, 576, 0, 0};
        default: return (Registers){0};
    }
}

static Registers masked_cpuid(uint32_t leaf, uint32_t subleaf) {
    Registers r = real_cpuid(leaf, subleaf);
    switch (leaf) {
        case 0: r.eax = 0xd; return with_vendor(r);
        case 1: r.eax = is_amd ? 0x00830f10 : 0x000306f2; return r; /* family and model */
        case 2: if (is_amd) return (Registers){0}; return r;
        case 4: return is_amd ? (Registers){0} : cache(subleaf);
        case 7: return extended_features(subleaf, r);
        case 0xd: return extended_state(subleaf);
        case 0x80000000: r.eax = is_amd ? 0x8000001e : 0x80000008; return is_amd ? with_vendor(r) : (Registers){r.eax, 0, 0, 0};
        case 0x80000001: r.ecx &= is_amd ? 0x121 : 0x21; r.ecx |= is_amd ? 1u << 22 : 0; return r; /* TOPOEXT: leaf 0x8000001D */
        case 0x80000005: return is_amd ? (Registers){0, 0, 0x20080140, 0x20080140} : (Registers){0};
        case 0x80000006: return is_amd ? (Registers){0, 0, 0x02006140, 0x00809140} : (Registers){0, 0, 0x01006040, 0};
        case 0x8000001d: return is_amd ? cache(subleaf) : (Registers){0};
        default:
            if ((leaf > 0xd && leaf < 0x40000000) || leaf > 0x80000008)
                return (Registers){0};
            return r;
    }
}

/* Lets a SIGSEGV take its course: the process's own handler, or else the default action once this handler has returned. */
static void pass_on(int number, siginfo_t *info, void *context) {
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        real_sigaction(number, &fallback, NULL);
        if (info->si_code <= 0) /* sent by a process: nothing would raise it again */
            system_call(SYS_tgkill, getpid(), system_call(SYS_gettid, 0, 0, 0), number);
    }
}

static void handle(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || instruction[0] != 0x0f || instruction[1] != 0xa2) {
        pass_on(number, info, context);
        return;
    }
    Registers r = masked_cpuid((uint32_t)registers[REG_RAX], (uint32_t)registers[REG_RCX]);
    registers[REG_RAX] = r.eax;
    registers[REG_RBX] = r.ebx;
    registers[REG_RCX] = r.ecx;
    registers[REG_RDX] = r.edx;
    registers[REG_RIP] += 2;
}

/* Keeps the handler of this library in place, whatever handler of SIGSEGV the process installs. */
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    if (real_sigaction == NULL)
        real_sigaction = (SigactionFunction *)dlsym(RTLD_NEXT, "sigaction");
    if (number != SIGSEGV)
        return real_sigaction(number, action, old);
    struct sigaction before = previous;
    if (action != NULL)
        previous = *action;
    if (old != NULL)
        *old = before;
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

__attribute__((constructor)) static void start(void) {
    const char *profile = getenv("CPUID_MASK");
    is_amd = profile != NULL && strcmp(profile, "zen2") == 0;
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    real_sigaction = (SigactionFunction *)dlsym(RTLD_NEXT, "sigaction");
    if (real_sigaction(SIGSEGV, &action, &previous) != 0 || system_call(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0) != 0)
        _exit(CANNOT_TRAP);
}
