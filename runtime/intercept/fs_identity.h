/* SPDX-License-Identifier: MIT
 *
 * Who a thread is to files: setfsuid(2), setfsgid(2).
 */
#ifndef INTERCEPT_FS_IDENTITY_H
#define INTERCEPT_FS_IDENTITY_H

#include <stdbool.h>

/* Is the calling green thread somebody else than the process?  Then nobody may access files
 * on its behalf. */
bool fs_identity_is_own(void);

/* The process's users or groups have changed, and with them those of each thread. */
void fs_identity_reset(bool users, bool groups);

#endif
