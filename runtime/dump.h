/* SPDX-License-Identifier: MIT
 *
 * Reports about all green threads, beside green_dump() of green.h.
 */
#ifndef DUMP_H
#define DUMP_H

/* Writes who waits for what, where, when nothing can ever go on. */
void deadlock_report(int fd);

#endif
