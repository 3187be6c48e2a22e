/* SPDX-License-Identifier: MIT
 *
 * Pages that the kernel holds.
 *
 * A transfer by O_DIRECT under way, a buffer registered with io_uring or another
 * device: the kernel writes to such memory by a reference of its own to the page,
 * whatever the page table says.  Were the page dropped, the bytes would go where
 * nobody reads, and the call would report success.  Write-protection keeps new
 * references from being made (they are faults that wait, or EFAULT), but says
 * nothing of older ones.
 *
 * The kernel tells in two ways:
 *   - UFFDIO_MOVE (Linux 6.8) does not move a page that is held so: EBUSY.  Each
 *     call empties the TLBs of all CPUs: 1 µs, 12 µs while peers are running.
 *   - VmPin in /proc/self/status counts what is held for long.  What is held for
 *     one transfer is not in it, but that is whole blocks of a disk.
 * So stacks on which the program has room for such a block are moved, and others
 * only while the process holds something for long.
 *
 * Not seen by either: transfers of less than a block (files of a FUSE server that
 * asks for direct I/O, NFS with O_DIRECT), process_vm_writev(2), /proc/PID/mem and
 * ptrace of a running process, in the microseconds that they take.
 */
#ifndef STACKS_HELD_H
#define STACKS_HELD_H

#include <stdbool.h>
#include <stddef.h>

#define HELD_BLOCK ((size_t)512) /* the least that a disk transfers */

/* Does the kernel hold some of this process's memory for long?  If in doubt. */
bool held_any(void);

/* Moves a page that is protected against writing to an empty place.  0; -errno
 * when it is held, or cannot be moved: it is where it was, but not protected. */
int held_take(void *page, void *place);

#endif
