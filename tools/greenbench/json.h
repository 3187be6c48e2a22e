/* SPDX-License-Identifier: MIT
 *
 * Picking members out of a flat JSON object on one line, as this program and
 * the servers' status pages print them.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

/* The number of a member; NAN when there is none. */
double json_number(const char *object, const char *key);

/* The text of a member, without escapes; false when there is none. */
bool json_text(const char *object, const char *key, char *buf, size_t size);

/* The last line of a text that holds an object, NUL-terminated in place. */
char *json_last_line(char *text);

#endif
