/* Lets a process see its CPU without VNNI: every `cpuid` instruction faults, and is answered here without those bits.
 *
 * Loaded with LD_PRELOAD. Linux on x86-64, on a CPU whose `cpuid` can fault (`cpuid_fault` in /proc/cpuinfo). With
 * HIDE_AVX512 in the environment AVX512 is hidden too, so that the AVX2 kernels run. Leaves with status 3 where the
 * kernel or the CPU cannot do that.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { set_cpuid = 0x1012 }; /* ARCH_CPUID: 1 allows the instruction, 0 lets it fault */

static int hide_avx512;

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)registers[REG_RIP];
  unsigned leaf = registers[REG_RAX], sub = registers[REG_RCX], a, b, c, d;
  (void)number, (void)info;
  if (at[0] != 0x0f || at[1] != 0xa2) { /* a real fault: happens again, and ends the process */
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  syscall(SYS_arch_prctl, set_cpuid, 1);
  __cpuid_count(leaf, sub, a, b, c, d);
  syscall(SYS_arch_prctl, set_cpuid, 0);
  if (leaf == 7 && sub == 0) {
    c &= ~(1u << 11);                       /* AVX512_VNNI */
    d &= ~(1u << 22 | 1u << 24 | 1u << 25); /* AMX */
    if (hide_avx512) b &= ~(1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);
  }
  if (leaf == 7 && sub == 1) {
    a &= ~(1u << 4);             /* AVX_VNNI */
    d &= ~(1u << 4 | 1u << 10);  /* AVX_VNNI_INT8, _INT16 */
  }
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, 0);
  hide_avx512 = getenv("HIDE_AVX512") != 0;
  if (syscall(SYS_arch_prctl, set_cpuid, 0)) _exit(3);
}
