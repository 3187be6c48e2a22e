/* SPDX-License-Identifier: MIT
 *
 * OS threads that use the primitives (foreign.c).
 */
#ifndef FOREIGN_H
#define FOREIGN_H

struct gt;

/* The calling OS thread's descriptor if it has one already, else NULL. */
struct gt *foreign_existing(void);

#endif
