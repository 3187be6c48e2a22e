/* SPDX-License-Identifier: MIT
 *
 * Public calls that the runtime itself makes, on behalf of the code at pc: what they
 * wait for is reported as that code's wait.
 */
#ifndef BEHALF_H
#define BEHALF_H

#include "green.h"

int thread_yield(void *pc);
int thread_sleep(int64_t duration_ns, void *pc);
int mutex_lock(green_mutex_t *mutex, void *pc);
int wg_wait(green_wg_t *wg, void *pc);

#endif
