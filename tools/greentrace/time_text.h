/* SPDX-License-Identifier: MIT
 *
 * Durations for people.
 */
#ifndef TIME_TEXT_H
#define TIME_TEXT_H

#include <stdint.h>

/* "1.23ms": three digits that count. */
char *time_text(char to[16], uint64_t ns);

#endif
