/* SPDX-License-Identifier: MIT
 *
 * The BPF programs, opened and not yet loaded.
 */
#ifndef OBJECT_H
#define OBJECT_H

#include <greentrace.skel.h>

/* kernel_types: does the kernel have type information?  Else no program that needs it may be
 * loaded.  NULL: errno. */
struct greentrace_bpf *object_open(bool kernel_types);

#endif
