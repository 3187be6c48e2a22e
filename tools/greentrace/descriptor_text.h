/* SPDX-License-Identifier: MIT
 *
 * What a file descriptor of another process stands for, in words.
 */
#ifndef DESCRIPTOR_TEXT_H
#define DESCRIPTOR_TEXT_H

#include <stddef.h>
#include <sys/types.h>

/* "7: 127.0.0.1:80", "3: /etc/hosts", "4: pipe": what is known of it now.  Not escaped:
 * paths are the traced program's. */
void descriptor_text(char *to, size_t size, pid_t pid, int pidfd, int fd);

#endif
