/* SPDX-License-Identifier: MIT
 *
 * The table of paths.
 */
#include "route.h"

static const struct {
	struct slice path;
	int (*serve)(struct connection *c);
	const bool *enabled;
} routes[] = {
	{ { "/echo", 5 }, echo_serve, NULL },
	{ { "/_status", 8 }, status_serve, &config.status },
	{ { "/_spin", 6 }, spin_serve, &config.debug },
	{ { "/_sleep", 7 }, sleep_serve, &config.debug },
};

int route(struct connection *c)
{
	struct slice path = exchange_slice(c->x, c->x->request.path);

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (slice_equal(path, routes[i].path) && (!routes[i].enabled || *routes[i].enabled))
			return routes[i].serve(c);
	return files_serve(c);
}
