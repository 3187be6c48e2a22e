/* SPDX-License-Identifier: MIT
 *
 * Which engine: as asked for, or io_uring where it works, else epoll.
 */
#include "engine.h"
#include "feature.h"
#include "options.h"
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void engine_report(void)
{
	char line[1024], features[512];

	if (!debug_has("engine"))
		return;
	feature_list(features, sizeof(features));
	snprintf(line, sizeof(line), "libgreen: engine %s%s%s, %u workers, features %s\n",
	         rt.engine->name, rt.engine_reason[0] ? ": " : "", rt.engine_reason,
	         rt.workers_count, features);
	sys3(SYS_write, 2, line, strlen(line));
}

static int use_epoll(void)
{
	char why[sizeof(rt.engine_reason)] = "";
	int r = engine_epoll.probe(why, sizeof(why));

	if (r < 0)
		error_set("engine epoll: %s", why);
	else
		rt.engine = &engine_epoll;
	return r;
}

int engine_choose(void)
{
	enum green_engine want = rt.options.engine;
	char why[sizeof(rt.engine_reason)] = "";

	rt.engine_reason[0] = 0;
	if (want != GREEN_ENGINE_EPOLL) {
		int r = -EPERM;
		if (feature_on(FEATURE_IO_URING))
			r = engine_uring.probe(why, sizeof(why));
		else
			strcpy(why, "io_uring is switched off by GREEN_FEATURES");
		feature_set(FEATURE_IO_URING, r == 0);
		if (r == 0) {
			rt.engine = &engine_uring;
			return 0;
		}
		if (want == GREEN_ENGINE_URING) {
			error_set("engine io_uring: %s; use auto or epoll", why);
			return r;
		}
		strcpy(rt.engine_reason, why);
	} else {
		strcpy(rt.engine_reason, "epoll was asked for");
	}
	return use_epoll();
}

bool engine_fall_back(int error)
{
	if (error != -ENOMEM || rt.engine != &engine_uring ||
	    rt.options.engine == GREEN_ENGINE_URING || use_epoll() < 0)
		return false;
	error_set("%s", "");
	feature_set(FEATURE_IO_URING, false);
	snprintf(rt.engine_reason, sizeof(rt.engine_reason),
	         "no memory for the io_urings of %u workers (RLIMIT_MEMLOCK or the cgroup's limit)",
	         rt.workers_count);
	engine_report();
	return true;
}
