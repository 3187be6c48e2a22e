/* SPDX-License-Identifier: MIT
 *
 * Dates as HTTP writes them: "Sun, 06 Nov 1994 08:49:37 GMT".
 */
#ifndef HTTPD_DATE_H
#define HTTPD_DATE_H

#include "slice.h"

#include <stdint.h>

#define DATE_LEN 29

/* Writes DATE_LEN bytes, no NUL, for a time in seconds since 1970; times
 * outside the years 1970 to 9999 are moved to the nearest of those. */
void date_format(char out[DATE_LEN], int64_t seconds);

/* Seconds since 1970 of a date in one of the three forms that HTTP knows (the
 * one above; "Sunday, 06-Nov-94 08:49:37 GMT"; "Sun Nov  6 08:49:37 1994"), or
 * -1 when it is none. */
int64_t date_parse(struct slice text);

#endif
