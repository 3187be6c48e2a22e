/* SPDX-License-Identifier: MIT
 *
 * PROBE(): a place where tracers can attach, as an ELF note that perf, bpftrace,
 * libbpf and gdb read (.note.stapsdt, version 3; the layout is SystemTap's, in
 * wiki "UserSpaceProbeImplementation").
 *
 * The site is one five-byte nop: kernels from 6.18 replace it by a call, which
 * pushes onto the stack.  So code with probes must be compiled without a red zone
 * (-mno-red-zone, in the Makefile).  Arguments are in registers: reading memory for
 * one costs the tracer a copy from user space.  Labels are numbers, so that the
 * compiler may copy the asm.
 *
 * SEMAPHORE is the name of a 16-bit object (or name+offset) in section ".probes",
 * which must come from the file, not .bss: who attaches counts it up there, and the
 * kernel does so in each process.
 */
#ifndef ARCH_PROBE_H
#define ARCH_PROBE_H

#include <stdint.h>

#define PROBE_PROVIDER "libgreen"
#define probe_semaphores __attribute__((section(".probes"), visibility("hidden"), used))

#if defined(__x86_64__)

/* One section for all objects of a program, as <sys/sdt.h> has it: where it lies
 * tells how far the program was moved after linking. */
#define PROBE_BASE                                                                   \
	".ifndef _.stapsdt.base\n"                                                   \
	"	.pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
	"	.weak _.stapsdt.base\n"                                                    \
	"	.hidden _.stapsdt.base\n"                                                  \
	"_.stapsdt.base:	.space 1\n"                                                 \
	"	.size _.stapsdt.base, 1\n"                                                 \
	"	.popsection\n"                                                             \
	".endif\n"

#define PROBE_SITE(name, semaphore, arguments)                \
	"990:	.byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"           \
	"	.pushsection .note.stapsdt, \"?\", \"note\"\n"      \
	"	.balign 4\n"                                        \
	"	.4byte 992f-991f, 994f-993f, 3\n"                   \
	"991:	.asciz \"stapsdt\"\n"                           \
	"992:	.balign 4\n"                                    \
	"993:	.8byte 990b, _.stapsdt.base, " semaphore "\n" \
	"	.asciz \"" PROBE_PROVIDER "\"\n"              \
	"	.asciz \"" name "\"\n"                        \
	"	.asciz \"" arguments "\"\n"                   \
	"994:	.balign 4\n"                                    \
	"	.popsection\n" PROBE_BASE

#define PROBE_ARG_(x) "r"((uint64_t)(x))
#define PROBE2(name, semaphore, a, b) \
	__asm__ volatile(PROBE_SITE(name, semaphore, "8@%0 8@%1")::PROBE_ARG_(a), PROBE_ARG_(b))
#define PROBE3(name, semaphore, a, b, c)                                               \
	__asm__ volatile(PROBE_SITE(name, semaphore, "8@%0 8@%1 8@%2")::PROBE_ARG_(a), \
	                 PROBE_ARG_(b), PROBE_ARG_(c))
#define PROBE4(name, semaphore, a, b, c, d)                                                 \
	__asm__ volatile(PROBE_SITE(name, semaphore, "8@%0 8@%1 8@%2 8@%3")::PROBE_ARG_(a), \
	                 PROBE_ARG_(b), PROBE_ARG_(c), PROBE_ARG_(d))
#define PROBE5(name, semaphore, a, b, c, d, e)                                                   \
	__asm__ volatile(PROBE_SITE(name, semaphore, "8@%0 8@%1 8@%2 8@%3 8@%4")::PROBE_ARG_(a), \
	                 PROBE_ARG_(b), PROBE_ARG_(c), PROBE_ARG_(d), PROBE_ARG_(e))
#define PROBE6(name, semaphore, a, b, c, d, e, f)                                    \
	__asm__ volatile(PROBE_SITE(name, semaphore,                                 \
	                            "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5")::PROBE_ARG_(a), \
	                 PROBE_ARG_(b), PROBE_ARG_(c), PROBE_ARG_(d), PROBE_ARG_(e), \
	                 PROBE_ARG_(f))

#endif

#endif
