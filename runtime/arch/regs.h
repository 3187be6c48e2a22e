/* SPDX-License-Identifier: MIT
 *
 * The three registers that a report about an interrupted context needs.
 */
#ifndef ARCH_REGS_H
#define ARCH_REGS_H

#include <stdint.h>
#include <ucontext.h>

struct regs {
	uintptr_t pc, sp, fp;
};

static inline struct regs regs_of(const void *context)
{
	const ucontext_t *uc = context;

#if defined(__x86_64__)
	return (struct regs){ .pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP],
		              .sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP],
		              .fp = (uintptr_t)uc->uc_mcontext.gregs[REG_RBP] };
#elif defined(__aarch64__)
	return (struct regs){ .pc = uc->uc_mcontext.pc,
		              .sp = uc->uc_mcontext.sp,
		              .fp = uc->uc_mcontext.regs[29] };
#else
#error "which registers are pc, sp and fp here?"
#endif
}

#endif
