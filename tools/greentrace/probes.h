/* SPDX-License-Identifier: MIT
 *
 * greentrace probes.
 */
#ifndef PROBES_VIEW_H
#define PROBES_VIEW_H

#include <stdbool.h>
#include <sys/types.h>

/* Lists the probes of the process.  EXIT_OK, or a problem that has been reported. */
int probes_list(pid_t pid, bool json);

#endif
