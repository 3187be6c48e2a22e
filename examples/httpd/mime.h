/* SPDX-License-Identifier: MIT
 *
 * Media types by the ending of a file's name.
 */
#ifndef HTTPD_MIME_H
#define HTTPD_MIME_H

#include "slice.h"

/* The value of Content-Type; "application/octet-stream" for unknown endings. */
struct slice mime_type(const char *name);

#endif
