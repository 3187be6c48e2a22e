/* SPDX-License-Identifier: MIT
 *
 * How much memory a tool may take.
 */
#ifndef MEMORY_H
#define MEMORY_H

/* Half of what the machine has, unless it is bounded already.  A file of the process that is
 * looked at can make libdw ask for any number of gigabytes: then it gets none, and its answer
 * is an error. */
void memory_limit(void);

/* As it was before: for a program that is started from here. */
void memory_unlimit(void);

#endif
