/* SPDX-License-Identifier: MIT
 *
 * Who woke the threads that waited at a switch point, over several hops.
 */
#include "escape.h"
#include "timeline.h"
#include "view.h"

#include <inttypes.h>

#define CHAINS_SHOWN 3 /* of a switch point */

void view_chains(struct trace *t, const struct site *site)
{
	const struct chains *c = timeline_chains(t->timeline);
	uint32_t numbers[CHAINS_SHOWN];
	char total[16], where[512];

	if (!c)
		return;
	size_t n = chains_of(c, site->pc, site->why, numbers, CHAINS_SHOWN);
	for (size_t i = 0; i < n; i++) {
		const struct chain *chain = chains_get(c, numbers[i]);
		printf("      %" PRIu64 " times, %s, woken %s\n", chain->count,
		       time_text(total, chain->total_ns),
		       chain->end == CHAIN_GOES_ON ? "by one that had waited in" : "by");
		while (chain->end == CHAIN_GOES_ON) {
			chain = chains_get(c, chain->before);
			printf("        %-10s %s\n", layout_why(&t->session.layout, chain->why),
			       place_text(where, sizeof(where),
			                  names_get(t->names, chain->pc, true)));
		}
		printf("        %s\n", chain_end_text(chain->end));
	}
}

static void print_hop(struct trace *t, const struct chain *chain)
{
	printf("{\"why\":");
	escape_json(layout_why(&t->session.layout, chain->why));
	printf(",\"at\":");
	view_json_symbol(names_get(t->names, chain->pc, true));
	printf("}");
}

void view_json_chains(struct trace *t)
{
	const struct chains *c = timeline_chains(t->timeline);

	for (uint32_t i = 0; c && i < chains_count(c); i++) {
		const struct chain *chain = chains_get(c, i);
		if (chain->count == 0 ||
		    !view_wants(t, chain->why, names_get(t->names, chain->pc, true)))
			continue;
		view_json_begin(t, "chain");
		printf(",\"count\":%" PRIu64 ",\"total_ns\":%" PRIu64 ",\"hops\":[", chain->count,
		       chain->total_ns);
		print_hop(t, chain);
		while (chain->end == CHAIN_GOES_ON) {
			chain = chains_get(c, chain->before);
			printf(",");
			print_hop(t, chain);
		}
		printf("],\"end\":\"%s\"}\n", chain_end_text(chain->end));
	}
}
