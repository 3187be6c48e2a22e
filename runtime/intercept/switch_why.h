/* SPDX-License-Identifier: MIT
 *
 * The numbers of intercepted calls that may switch, in records and probes.
 */
#ifndef INTERCEPT_SWITCH_WHY_H
#define INTERCEPT_SWITCH_WHY_H

#include "trace_record.h"

/* What tracers know a call by that may switch (trace_record.h); not the same number in every
 * version. */
enum switch_why {
	SWITCH_BEFORE = TRACE_CALL - 1,
#define SWITCHES(name, has_file) SWITCH_##name,
#include "intercept/switch_list.h"
#undef SWITCHES
	SWITCH_END,
};
_Static_assert(SWITCH_END <= 256, "a byte of a record");

#endif
