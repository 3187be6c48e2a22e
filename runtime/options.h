/* SPDX-License-Identifier: MIT
 *
 * Options of green_init(): environment, defaults, limits (options.c), and the
 * text of the last error.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "green.h"

#define THREADS_MAX_DEFAULT ((size_t)1 << 24)
#define FLIGHT_RECORDS_DEFAULT 1024
#define HIBERNATE_DEFAULT_NS GREEN_S(1)
#define FLIGHT_RECORDS_MAX (1 << 20)

/* Fills every zero of *o: environment over options over defaults.  0, or
 * -EINVAL with error_set() naming the field or variable. */
int options_resolve(struct green_options *o);

/* What a variable of the environment says, for parts that have some of their own: 1, and
 * *number is it; 0: it is not set, or the process runs with raised privileges; -EINVAL with
 * error_set() naming it.  suffix: K, M or G may follow. */
int options_number(const char *name, bool suffix, uint64_t least, uint64_t most, uint64_t *number);

/* Did the options last resolved ask for hibernation, or is it by default? */
bool options_hibernation_asked(void);

__attribute__((format(printf, 1, 2))) void error_set(const char *format, ...);

/* CPUs this process may use: fills cpus[max], returns their number. */
unsigned cpus_allowed(int *cpus, unsigned max);

/* The same for so many workers.  Where those are fewer, the CPUs begin with the one that the
 * caller runs on: it need not move, and not all processes take the first ones. */
unsigned cpus_for(int *cpus, unsigned workers);

/* Back to all of them, on an OS thread that is no worker and was made by one, which keeps to its
 * own. */
void cpus_unbind(void);

/* CPUs that the cgroup's quota amounts to, rounded up; 0: no quota. */
unsigned cpus_quota(void);

#endif
