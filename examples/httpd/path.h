/* SPDX-License-Identifier: MIT
 *
 * From the path and query of a request target to names and numbers.
 */
#ifndef HTTPD_PATH_H
#define HTTPD_PATH_H

#include "slice.h"

#include <stdint.h>

/* Decodes the path of a target into a file name relative to the root: percent
 * escapes resolved, runs of slashes made one, none at the start, one at the end
 * kept.  The root itself is "".  Writes it with a NUL to out (size bytes; the
 * raw path's length + 1 is enough).
 * Returns its length; -400 for a malformed escape or a NUL; -404 for a name that
 * is never served: a part that begins with a dot (so ".." goes no way, and
 * .git stays private; ".well-known" is allowed) or has a slash escaped in it;
 * -414 when out is too small. */
int path_decode(struct slice raw, char *out, size_t size);

/* The number behind "name=" in a query; false when there is none. */
bool query_number(struct slice query, struct slice name, uint64_t *value);

#endif
