/* SPDX-License-Identifier: MIT
 *
 * Starting the interceptors that were asked for and that this system lets work.
 */
#include "intercept/interceptors.h"
#include "intercept/dispatch.h"
#include "intercept/patch.h"
#include "green.h"
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Written before there are workers.  NULL: it is on, or was not asked for. */
static const char *no_patch, *no_dispatch;

static int fail(const char *what, const char *why, int error)
{
	error_set("GREEN_INTERCEPT=%s: %s: %s", what, why, strerror(-error));
	return error;
}

int interceptors_start(enum intercept_mode mode, bool others)
{
	int patched = -ENOTSUP, dispatched = -ENOTSUP;

	if (mode == INTERCEPT_OFF)
		return 0;
	/* First: it is tried by a call of libc's, which rewritten would not be dispatched. */
	if (mode != INTERCEPT_PATCH)
		dispatched = dispatch_start(&no_dispatch);
	if (dispatched < 0 && (mode == INTERCEPT_DISPATCH || mode == INTERCEPT_BOTH))
		return fail(mode == INTERCEPT_BOTH ? "both" : "dispatch", no_dispatch, dispatched);
	if (mode != INTERCEPT_DISPATCH && others)
		no_patch = "other threads run already, perhaps the code to be rewritten";
	else if (mode != INTERCEPT_DISPATCH)
		patched = patch_start(dispatched < 0, &no_patch);
	if (patched < 0 && mode != INTERCEPT_DISPATCH &&
	    (mode != INTERCEPT_AUTO || dispatched < 0)) {
		dispatch_stop();
		return fail(mode == INTERCEPT_PATCH  ? "patch"
		            : mode == INTERCEPT_BOTH ? "both"
		                                     : "auto",
		            no_patch, patched);
	}
	return 0;
}

int interceptors_arm(struct worker *w)
{
	(void)w;
	return dispatch_arm();
}

void interceptors_describe(char *buf, size_t size)
{
	char patched[160];

	if (patch_sites())
		snprintf(patched, sizeof(patched), "%u system calls rewritten, %u left",
		         patch_sites(), patch_left());
	else
		snprintf(patched, sizeof(patched), "none rewritten%s%s", no_patch ? ": " : "",
		         no_patch ? no_patch : "");
	snprintf(buf, size, "%s; dispatch %s%s%s", patched, dispatch_started ? "on" : "off",
	         no_dispatch ? ": " : "", no_dispatch ? no_dispatch : "");
}

int green_intercept_info(struct green_intercept_info *info)
{
	*info = (struct green_intercept_info){ .on = intercept_on,
		                               .dispatch = dispatch_started,
		                               .sites = patch_sites(),
		                               .sites_left = patch_left(),
		                               .dispatched = dispatch_count() };
	interceptors_describe(info->text, sizeof(info->text));
	return 0;
}
