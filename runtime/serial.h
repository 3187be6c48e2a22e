/* SPDX-License-Identifier: MIT
 *
 * Serial groups: green threads that share one worker.
 */
#ifndef SERIAL_H
#define SERIAL_H

#include "green.h"

void serial_join(struct green_serial *group);  /* one more member */
void serial_leave(struct green_serial *group); /* one less; may free the group */
unsigned serial_worker(const struct green_serial *group);

#endif
