/* SPDX-License-Identifier: MIT
 *
 * Reading the Range field.
 */
#include "range.h"

/* A decimal number that stops at UINT64_MAX.  False when s is none. */
static bool parse_number(struct slice s, uint64_t *value)
{
	*value = 0;
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (unsigned)(s.ptr[i] - '0'), value))
			*value = UINT64_MAX;
	}
	return true;
}

enum range_result range_parse(struct slice field, uint64_t size, uint64_t *first, uint64_t *last)
{
	static const struct slice unit = { "bytes=", 6 };
	uint64_t from, to;

	if (field.len < unit.len || strncasecmp(field.ptr, unit.ptr, unit.len) != 0)
		return RANGE_WHOLE;
	struct slice spec =
		slice_trim((struct slice){ field.ptr + unit.len, field.len - unit.len });
	const char *dash = spec.len > 0 ? memchr(spec.ptr, '-', spec.len) : NULL;
	if (!dash)
		return RANGE_WHOLE;
	struct slice left = { spec.ptr, (size_t)(dash - spec.ptr) };
	struct slice right = { dash + 1, spec.len - left.len - 1 };

	if (left.len == 0) {
		if (!parse_number(right, &to))
			return RANGE_WHOLE;
		if (to == 0 || size == 0)
			return RANGE_UNSATISFIABLE;
		*first = to < size ? size - to : 0;
		*last = size - 1;
		return RANGE_PART;
	}
	if (!parse_number(left, &from))
		return RANGE_WHOLE;
	if (right.len == 0)
		to = UINT64_MAX;
	else if (!parse_number(right, &to) || to < from)
		return RANGE_WHOLE;
	if (from >= size)
		return RANGE_UNSATISFIABLE;
	*first = from;
	*last = to < size ? to : size - 1;
	return RANGE_PART;
}
