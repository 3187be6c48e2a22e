/* SPDX-License-Identifier: MIT
 *
 * Names of system calls, for reports.
 */
#ifndef INTERCEPT_CALL_NAME_H
#define INTERCEPT_CALL_NAME_H

/* Never NULL. */
const char *call_name(unsigned long nr);

#endif
