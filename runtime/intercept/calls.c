/* SPDX-License-Identifier: MIT
 *
 * The table of call_list.h, by number.
 */
#include "intercept/call.h"

#define FAST(name_, group_, what_)                                                       \
	[SYS_##name_] = {                                                                \
		.name = #name_, .fast = fast_##name_, .what = (what_), .group = (group_) \
	},
#define FULL(name_, group_, what_)              \
	[SYS_##name_] = { .name = #name_,       \
		          .fast = fast_more,    \
		          .full = call_##name_, \
		          .what = (what_),      \
		          .group = (group_) },
#define BOTH(name_, group_, what_)              \
	[SYS_##name_] = { .name = #name_,       \
		          .fast = fast_##name_, \
		          .full = call_##name_, \
		          .what = (what_),      \
		          .group = (group_) },

struct call_entry calls[CALL_NR_MAX] = {
#include "intercept/call_list.h"
	[CALL_NR_BORN] = { .name = "born", .fast = fast_born, .group = CALL_PROCESSES },
};
