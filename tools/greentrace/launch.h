/* SPDX-License-Identifier: MIT
 *
 * Starting a program so that probes are in place before its first instruction.
 */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <sys/types.h>

/* Starts it and stops it at its entry point: its libraries have been mapped, nothing of
 * it has run.  A program without a runtime goes on to the one that it executes.  *pid: its number.
 * EXIT_OK, or a problem that has been reported.  It is killed if this process ends before
 * launch_go(). */
int launch(pid_t *pid, char **argv);

/* Lets it run.  EXIT_OK, or a problem that has been reported. */
int launch_go(pid_t pid);

#endif
