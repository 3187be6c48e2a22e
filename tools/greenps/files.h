/* SPDX-License-Identifier: MIT
 *
 * The files of a target, which are its owner's: they may be cut short or written over while
 * they are being read.
 */
#ifndef GREENPS_FILES_H
#define GREENPS_FILES_H

#include <stdbool.h>

/* For reading.  -1: errno; ENOENT, when it is there and is no regular file. */
int file_open_regular(const char *path);

/* Does this ELF file end before what its header says? */
bool file_is_cut_short(int fd);

#endif
