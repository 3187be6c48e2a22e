/* SPDX-License-Identifier: MIT
 *
 * greentrace flight.
 */
#ifndef FLIGHT_VIEW_H
#define FLIGHT_VIEW_H

#include "options.h"

/* Shows the last records of the process.  EXIT_OK, EXIT_NOTHING (said: there are none), or
 * a problem that has been reported. */
int flight_show(const struct options *o);

#endif
