/* SPDX-License-Identifier: MIT
 *
 * The end of threads of the program (thread_exit.c).
 */
#ifndef INTERCEPT_THREAD_EXIT_H
#define INTERCEPT_THREAD_EXIT_H

/* Once, before any of them ends. */
void thread_exit_init(void);

#endif
