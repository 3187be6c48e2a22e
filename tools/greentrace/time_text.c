/* SPDX-License-Identifier: MIT
 *
 * Durations for people.
 */
#include "time_text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

char *time_text(char to[16], uint64_t ns)
{
	static const struct {
		double ns;
		const char *name;
	} units[] = { { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		double n = (double)ns / units[i].ns;
		/* What rounds up to 1000 of a unit is 1.00 of the next. */
		if (n < 0.9995)
			continue;
		snprintf(to, 16, "%.*f%s", n < 9.995 ? 2 : n < 99.95 ? 1 : 0, n, units[i].name);
		return to;
	}
	snprintf(to, 16, "%" PRIu64 "ns", ns);
	return to;
}
