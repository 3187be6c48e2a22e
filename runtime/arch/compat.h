/* SPDX-License-Identifier: MIT
 *
 * Kernel constants newer than the headers of Debian 12.  Every use is probed
 * when the program starts; a constant here promises nothing.
 */
#ifndef ARCH_COMPAT_H
#define ARCH_COMPAT_H

#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#define MADV_GUARD_REMOVE 103
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#endif
