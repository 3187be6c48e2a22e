/* SPDX-License-Identifier: MIT
 *
 * The access log, in the "combined" format that log tools know.
 *
 * Lines are collected in memory and written when that is full and once a
 * second.  What comes from clients is escaped: no control byte, quote or
 * backslash of theirs reaches the file.
 */
#ifndef HTTPD_LOG_H
#define HTTPD_LOG_H

#include "connection.h"

/* Opens config.log; nothing is logged when that is NULL.  0 or -errno. */
int log_init(void);

/* Remembers who is on the other end. */
void log_peer(struct connection *c);

/* Adds a line about the request that has been answered.  May switch. */
void log_exchange(const struct connection *c);

/* Writes what is collected.  May switch. */
void log_flush(void);

/* Flushes every second until cancelled; a green thread. */
void *log_ticker(void *unused);

/* Opens the file by its name anew, after it was renamed.  May switch. */
void log_reopen(void);

/* What comes from a client, made printable: \xNN for the rest.  Writes at most
 * size bytes, returns how many. */
size_t log_escape(char *out, size_t size, struct slice text);

#endif
