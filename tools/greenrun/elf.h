/* SPDX-License-Identifier: MIT
 *
 * What an ELF file says about whether greenrun can run it.
 */
#ifndef GREENRUN_ELF_H
#define GREENRUN_ELF_H

#include <stdbool.h>

bool elf_is(int fd);

/* 0, or the exit status after saying what the file is and what helps. */
int elf_check(int fd, const char *path);

#endif
