/* SPDX-License-Identifier: MIT
 *
 * System calls rewritten to jumps, once, at start: libc's, or those of all that is loaded.
 *
 * Each site (site.h) jumps into a trampoline of its own within two gigabytes,
 *
 *	(the instructions that went along)
 *	lea	behind the site(%rip), %rcx
 *	jmp	intercept_entry
 *
 * rcx being what a system call destroys.  Text is never writable and executable at once:
 * it is made writable, changed, and made executable again, while the one thread there is
 * runs code of this library only and takes no signal.  Trampolines are written before
 * they are made executable.  A system that forbids one of this (SELinux: execmod, execmem;
 * a seccomp filter; mseal) is found out beforehand, on a copy of a page.
 */
#ifndef INTERCEPT_PATCH_H
#define INTERCEPT_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rewrites libc's system calls (and the dynamic linker's, and those of the libraries that
 * older versions kept apart), or with everything those of all shared objects but this one.
 * Only while there is one thread.  0, or -errno with why (a sentence's end, static) in
 * *why: nothing has been changed then. */
int patch_start(bool everything, const char **why);

/* Does it lie in a trampoline?  Signals are handled behind it: unwinders do not know that
 * code. */
bool patch_contains(uintptr_t pc);

/* For reports: what was rewritten, and what could not be. */
unsigned patch_sites(void);
unsigned patch_left(void);

#endif
