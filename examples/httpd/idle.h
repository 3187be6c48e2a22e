/* SPDX-License-Identifier: MIT
 *
 * Idle connections: those that wait for a request, and how they are all ended
 * at once when the server drains.
 *
 * One byte per descriptor says whether its connection is idle.  The drain goes
 * through that table and shuts the idle ones' sockets for reading, which wakes
 * their green threads with an end of stream; nobody has to look at a flag from
 * time to time, and a request that had already arrived is still answered.
 */
#ifndef HTTPD_IDLE_H
#define HTTPD_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes the table.  0 or -ENOMEM. */
int idle_init(size_t descriptors);

/* Waits until something can be read from the connection.  True when there is,
 * be it the end of the stream; false when timeout_ns passed, the server drains,
 * or the green thread was cancelled.  May switch. */
bool idle_wait(int fd, int64_t timeout_ns);

/* Ends idle connections, now and from now on. */
void idle_drain(void);

/* idle_drain() was called: responses say that the connection will be closed. */
bool idle_draining(void);

#endif
