/* SPDX-License-Identifier: MIT
 *
 * skynet: a tree of green threads, ten children each, adds up the numbers of
 * its leaves.
 *
 * A node is told its range of numbers: the first in the upper half of its
 * argument, how many in the lower.  Every leaf's parent that is chosen by its
 * number notes how long its children took to be done, for the percentiles.
 */
#include "run.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#define BRANCHES 10
#define SAMPLE_MASK 63 /* one in so many of the leaves' parents */

struct skynet {
	uint64_t leaves;
	bool channel;
	struct hist_set *latency; /* by worker */
};

static struct skynet skynet;

struct node {
	uint64_t first, count;
	green_chan_t *result;
};

static uint64_t pack(uint64_t first, uint64_t count)
{
	return first << 32 | count;
}

static void sample(int64_t begin)
{
	hist_add(&skynet.latency->each[green_worker()], green_now() - begin);
}

static bool sampled(uint64_t first, uint64_t count)
{
	return count <= BRANCHES && (first / BRANCHES & SAMPLE_MASK) == 0;
}

/* How many numbers child i of a node gets. */
static uint64_t share(uint64_t count, uint64_t parts, uint64_t i)
{
	return count / parts + (i < count % parts);
}

/* The sum is the result of the thread; a failed spawn makes it wrong, which is
 * found out at the top. */
static void *join_node(void *arg)
{
	uint64_t first = (uint64_t)arg >> 32, count = (uint32_t)(uint64_t)arg;
	if (count == 1)
		return (void *)first;
	uint64_t parts = count < BRANCHES ? count : BRANCHES, next = first, sum = 0;
	int64_t begin = sampled(first, count) ? green_now() : 0;
	green_t children[BRANCHES];
	for (uint64_t i = 0; i < parts; i++) {
		uint64_t n = share(count, parts, i);
		if (green_spawn(&children[i], NULL, join_node, (void *)pack(next, n)))
			children[i] = GREEN_NONE;
		next += n;
	}
	for (uint64_t i = 0; i < parts; i++) {
		void *part = NULL;
		if (green_join(children[i], &part) == 0)
			sum += (uint64_t)part;
	}
	if (begin)
		sample(begin);
	return (void *)sum;
}

static void *chan_node(void *arg);

/* Children send to a channel of their parent.  Their arguments lie on its
 * stack: they copy them before anything else, and it waits for their sums. */
static uint64_t chan_sum(const struct node *node)
{
	uint64_t parts = node->count < BRANCHES ? node->count : BRANCHES;
	uint64_t next = node->first, sum = 0, started = 0;
	int64_t begin = sampled(node->first, node->count) ? green_now() : 0;
	struct node children[BRANCHES];
	green_chan_t *results = green_chan_new(sizeof(uint64_t), BRANCHES);
	for (uint64_t i = 0; results && i < parts; i++) {
		children[i] = (struct node){ next, share(node->count, parts, i), results };
		next += children[i].count;
		started += green_go(chan_node, &children[i]) == 0;
	}
	for (uint64_t i = 0; i < started; i++) {
		uint64_t part = 0;
		green_chan_recv(results, &part);
		sum += part;
	}
	green_chan_free(results);
	if (begin)
		sample(begin);
	return sum;
}

static void *chan_node(void *arg)
{
	struct node node = *(struct node *)arg;
	uint64_t sum = node.count == 1 ? node.first : chan_sum(&node);
	green_chan_send(node.result, &sum);
	return NULL;
}

/* All threads of the tree, inner nodes too. */
static uint64_t nodes(uint64_t count)
{
	if (count <= 1)
		return 1;
	uint64_t parts = count < BRANCHES ? count : BRANCHES, large = count % parts;
	uint64_t sum = 1;
	if (large)
		sum += large * nodes(count / parts + 1);
	return sum + (parts - large) * nodes(count / parts);
}

static uint64_t tree_sum(void)
{
	struct node root = { 0, skynet.leaves, NULL };
	if (!skynet.channel)
		return (uint64_t)join_node((void *)pack(0, skynet.leaves));
	return skynet.leaves == 1 ? 0 : chan_sum(&root);
}

static int skynet_round(struct run *run, void *arg)
{
	uint64_t leaves = skynet.leaves, threads = *(uint64_t *)arg;
	uint64_t expected = leaves % 2 ? leaves * ((leaves - 1) / 2) : leaves / 2 * (leaves - 1);
	run_mark(run);
	int64_t begin = green_now();
	uint64_t sum = tree_sum();
	double elapsed = (double)(green_now() - begin);
	result_measure(&run->result, "ms", "ms", elapsed / 1e6);
	result_measure(&run->result, "ns_per_thread", "ns", elapsed / (double)threads);
	result_measure(&run->result, "ops_per_s", "threads/s", (double)threads * 1e9 / elapsed);
	hist_set_look(skynet.latency);
	result_measure(&run->result, "p99_us", "us for ten leaves",
	               hist_set_us(skynet.latency, 0.99));
	run_costs(run, (double)threads);
	if (sum != expected)
		return run_wrong(run, "the sum is %llu, not %llu", (unsigned long long)sum,
		                 (unsigned long long)expected);
	struct green_info info;
	if (green_info(&info) == 0)
		result_measure(&run->result, "threads_peak", "threads", (double)info.threads_peak);
	return 0;
}

static int skynet_body(struct run *run)
{
	skynet.leaves = run_default(run->options->threads, 1000000);
	skynet.channel = run->options->how && !strcmp(run->options->how, "chan");
	skynet.latency = hist_set_new(run->workers);
	if (!skynet.latency)
		return run_cannot(run, "no memory for the histogram");
	uint64_t threads = nodes(skynet.leaves) - 1; /* the root is the caller */
	result_number(&run->result, "threads", (double)skynet.leaves);
	result_number(&run->result, "nodes", (double)threads);
	result_text(&run->result, "how", skynet.channel ? "chan" : "join");
	result_number(&run->result, "sum", (double)skynet.leaves * (double)(skynet.leaves - 1) / 2);
	run_rounds(run, skynet_round, &threads);
	hist_set_free(skynet.latency);
	return run->status;
}

static int skynet_run(const struct options *options)
{
	const char *how = options->how;
	if (how && strcmp(how, "join") != 0 && strcmp(how, "chan") != 0)
		return options_bad("how", "give join (default) or chan");
	return run_bench(options, "skynet", skynet_body);
}

const struct bench bench_skynet = {
	.name = "skynet",
	.about = "A tree of green threads with ten children each adds up the numbers of its\n"
		 "leaves: milliseconds for the tree; the sum is checked.\n"
		 "--threads: leaves (default 1M).\n"
		 "--how: results by join (default) or through channels (chan).",
	.accepts = "threads how",
	.examples = "  greenbench skynet --threads 1000000 --workers 1\n"
		    "  greenbench skynet --how chan --json\n",
	.run = skynet_run,
};
