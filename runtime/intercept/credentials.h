/* SPDX-License-Identifier: MIT
 *
 * What setuid(2) & co. need (credentials.c).
 */
#ifndef INTERCEPT_CREDENTIALS_H
#define INTERCEPT_CREDENTIALS_H

/* Before the program runs. */
void credentials_start(void);

#endif
