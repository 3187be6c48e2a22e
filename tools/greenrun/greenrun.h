/* SPDX-License-Identifier: MIT
 *
 * What the parts of greenrun share: exit statuses and the one way to complain.
 */
#ifndef GREENRUN_H
#define GREENRUN_H

/* As env(1), nohup(1) and timeout(1) have them; otherwise the program's own. */
enum {
	EXIT_PROBLEM = 125, /* greenrun itself could not: usage, library, machine */
	EXIT_REFUSED = 126, /* there is such a program, and it cannot be run like this */
	EXIT_ABSENT = 127,  /* there is no such program */
};

/* Prints "greenrun: ..." on standard error; returns status. */
__attribute__((format(printf, 2, 3))) int problem(int status, const char *format, ...);

#endif
