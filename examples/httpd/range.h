/* SPDX-License-Identifier: MIT
 *
 * The Range field: which bytes of a file a request asks for.
 */
#ifndef HTTPD_RANGE_H
#define HTTPD_RANGE_H

#include "slice.h"

#include <stdint.h>

enum range_result {
	RANGE_WHOLE,         /* no range, several, or none that we understand: all of it */
	RANGE_PART,          /* *first … *last */
	RANGE_UNSATISFIABLE, /* 416 */
};

/* Reads "bytes=first-last", "bytes=first-" or "bytes=-suffix" for a file of
 * size bytes.  *first and *last are counted from 0, *last is included; both
 * are set only for RANGE_PART. */
enum range_result range_parse(struct slice field, uint64_t size, uint64_t *first, uint64_t *last);

#endif
