/* SPDX-License-Identifier: MIT
 *
 * What all parts of greenps, and those of greentrace, share: exit statuses and how they
 * complain.
 */
#ifndef GREENPS_H
#define GREENPS_H

enum {
	EXIT_OK = 0,
	EXIT_NOTHING = 1, /* there are no green threads, or not the one asked for */
	EXIT_PROBLEM = 2, /* usage, no such process, not allowed, not a libgreen program … */
};

extern const char tool_name[]; /* that of the program */

/* "NAME: …" to standard error; what is not trusted has been escaped. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* The same, and the status to return. */
#define problem(...) (complain(__VA_ARGS__), EXIT_PROBLEM)

#endif
