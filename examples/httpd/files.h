/* SPDX-License-Identifier: MIT
 *
 * Static files below one directory, with no way out of it.
 */
#ifndef HTTPD_FILES_H
#define HTTPD_FILES_H

#include <stdbool.h>
#include <sys/stat.h>

/* Opens the directory that everything is served from.  by_walking: do not use
 * openat2(), as on kernels before 5.6.  0 or -errno. */
int files_init(const char *root, bool by_walking);

/* Opens a file or directory by its name relative to the root, as path_decode()
 * makes it, and describes it in *st.  Symbolic links that leave the root are
 * refused (all of them when walking).  Returns the descriptor or -errno.  May
 * switch. */
int files_open(const char *name, struct stat *st);

#endif
