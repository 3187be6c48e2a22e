/* SPDX-License-Identifier: MIT
 *
 * The library that greenrun has loaded into the program.
 */
#ifndef PRELOAD_H
#define PRELOAD_H

/* Puts libgreenrun.so in front of LD_PRELOAD.  0, or the exit status after a complaint. */
int preload_set(void);

#endif
