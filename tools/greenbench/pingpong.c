/* SPDX-License-Identifier: MIT
 *
 * pingpong: two green threads pass a number to and fro over two rendezvous
 * channels, on one worker and across two.
 */
#include "place.h"
#include "run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct pingpong {
	struct place place;
	uint64_t trips;
	uint64_t work; /* steps before each message */
	green_chan_t *ping, *pong;
	int64_t begin_ns, end_ns; /* written by the pinger, read after the join */
	uint64_t wrong;
};

/* Sends i, expects i + 1 back. */
static void *pinger(void *arg)
{
	struct pingpong *p = arg;
	p->begin_ns = green_now();
	for (uint64_t i = 0; i < p->trips; i++) {
		uint64_t value = i;
		run_work(p->work);
		int error = green_chan_send(p->ping, &value);
		if (!error)
			error = green_chan_recv(p->pong, &value);
		if (error || value != i + 1)
			p->wrong++;
		if (error)
			break;
	}
	p->end_ns = green_now();
	green_chan_close(p->ping);
	return NULL;
}

static void *ponger(void *arg)
{
	struct pingpong *p = arg;
	uint64_t value;
	while (green_chan_recv(p->ping, &value) == 0) {
		value++;
		run_work(p->work);
		if (green_chan_send(p->pong, &value))
			break;
	}
	return NULL;
}

static int play(struct run *run, struct pingpong *p, unsigned a, unsigned b)
{
	struct green_attr ping_attr = place_attr(&p->place, a, false);
	struct green_attr pong_attr = place_attr(&p->place, b, false);
	green_t ping_thread, pong_thread;
	if (run_spawn(run, &pong_thread, &pong_attr, ponger, p))
		return run->status;
	if (run_spawn(run, &ping_thread, &ping_attr, pinger, p)) {
		green_chan_close(p->ping);
		green_join(pong_thread, NULL);
		return run->status;
	}
	green_join(ping_thread, NULL);
	green_join(pong_thread, NULL);
	return 0;
}

/* ns a round trip between workers a and b; NAN after a failure. */
static double measure(struct run *run, struct pingpong *p, unsigned a, unsigned b, uint64_t trips)
{
	p->trips = trips;
	p->wrong = 0;
	p->ping = green_chan_new(sizeof(uint64_t), 0);
	p->pong = green_chan_new(sizeof(uint64_t), 0);
	int status = p->ping && p->pong ? play(run, p, a, b) : run_cannot(run, "no memory");
	green_chan_free(p->ping);
	green_chan_free(p->pong);
	if (!status && p->wrong)
		status = run_wrong(run, "%llu round trips brought another number",
		                   (unsigned long long)p->wrong);
	return status ? NAN : (double)(p->end_ns - p->begin_ns) / (double)trips;
}

static int pingpong_round(struct run *run, void *arg)
{
	struct pingpong *p = arg;
	const char *how = run->options->how;
	if (!how || !strcmp(how, "same")) {
		uint64_t trips = run_default(run->options->count, 1000000);
		run_mark(run);
		double ns = measure(run, p, 0, 0, trips);
		if (isnan(ns))
			return run->status;
		result_measure(&run->result, "ns_per_round_trip", "ns", ns);
		result_measure(&run->result, "ops_per_s", "round trips/s", 1e9 / ns);
		run_costs(run, (double)trips);
	}
	if ((!how && run->workers > 1) || (how && !strcmp(how, "across"))) {
		uint64_t trips = run_default(run->options->count, 50000);
		double ns = measure(run, p, 0, 1, trips);
		if (isnan(ns))
			return run->status;
		result_measure(&run->result, "ns_per_round_trip_across", "ns", ns);
		if (how)
			result_measure(&run->result, "ops_per_s", "round trips/s", 1e9 / ns);
	}
	return 0;
}

static int pingpong_body(struct run *run)
{
	const char *how = run->options->how;
	if (how && !strcmp(how, "across") && run->workers < 2)
		return run_cannot(run, "--how across needs two workers; give --workers 2");
	struct pingpong *p = run_alloc(run, 1, sizeof(*p));
	if (!p)
		return run->status;
	p->work = run->options->work;
	result_text(&run->result, "how", how ? how : run->workers > 1 ? "both" : "same");
	if (place_init(&p->place, run) == 0) {
		run_rounds(run, pingpong_round, p);
		place_free(&p->place);
	}
	free(p);
	return run->status;
}

static int pingpong_run(const struct options *options)
{
	const char *how = options->how;
	if (how && strcmp(how, "same") != 0 && strcmp(how, "across") != 0)
		return options_bad("how", "give same or across, or leave it out for both");
	return run_bench(options, "pingpong", pingpong_body);
}

const struct bench bench_pingpong = {
	.name = "pingpong",
	.about = "Two green threads pass a number to and fro over rendezvous channels:\n"
		 "nanoseconds a round trip, on one worker and across two.\n"
		 "--how: same or across (default: both).\n"
		 "--count: round trips in a round (default 1M, across 50k).",
	.accepts = "count how work",
	.examples = "  greenbench pingpong\n"
		    "  greenbench pingpong --workers 2 --how across --json\n",
	.run = pingpong_run,
};
