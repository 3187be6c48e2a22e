/* SPDX-License-Identifier: MIT
 *
 * chan: many producers and many consumers on one buffered channel.
 */
#include "run.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct channel_bench {
	green_chan_t *chan;
	uint64_t producers, consumers;
	uint64_t messages;
	size_t capacity;
	_Atomic uint64_t next; /* number of the next producer */
	_Atomic uint64_t sum, received;
	_Atomic int error;
	green_wg_t producers_left, consumers_left;
};

/* Producer k sends the numbers k, k + producers, k + 2 producers … below
 * messages, so that all numbers are sent once. */
static void *producer(void *arg)
{
	struct channel_bench *c = arg;
	uint64_t value = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);
	for (; value < c->messages; value += c->producers) {
		int error = green_chan_send(c->chan, &value);
		if (error) {
			atomic_store_explicit(&c->error, error, memory_order_relaxed);
			break;
		}
	}
	green_wg_done(&c->producers_left);
	return NULL;
}

static void *consumer(void *arg)
{
	struct channel_bench *c = arg;
	uint64_t value, sum = 0, received = 0;
	while (green_chan_recv(c->chan, &value) == 0) {
		sum += value;
		received++;
	}
	atomic_fetch_add_explicit(&c->sum, sum, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->received, received, memory_order_relaxed);
	green_wg_done(&c->consumers_left);
	return NULL;
}

static int start(struct run *run, struct channel_bench *c)
{
	atomic_store_explicit(&c->next, 0, memory_order_relaxed);
	atomic_store_explicit(&c->sum, 0, memory_order_relaxed);
	atomic_store_explicit(&c->received, 0, memory_order_relaxed);
	for (uint64_t i = 0; i < c->consumers; i++) {
		green_wg_add(&c->consumers_left, 1);
		int error = green_go(consumer, c);
		if (error)
			return run_cannot(run, "a green thread could not be spawned: %s",
			                  strerror(-error));
	}
	for (uint64_t i = 0; i < c->producers; i++) {
		green_wg_add(&c->producers_left, 1);
		int error = green_go(producer, c);
		if (error)
			return run_cannot(run, "a green thread could not be spawned: %s",
			                  strerror(-error));
	}
	return 0;
}

static int check(struct run *run, struct channel_bench *c)
{
	uint64_t sum = atomic_load_explicit(&c->sum, memory_order_relaxed);
	uint64_t received = atomic_load_explicit(&c->received, memory_order_relaxed);
	uint64_t expected = c->messages % 2 ? c->messages * ((c->messages - 1) / 2)
	                                    : c->messages / 2 * (c->messages - 1);
	int error = atomic_load_explicit(&c->error, memory_order_relaxed);
	if (error)
		return run_wrong(run, "a send failed: %s", strerror(-error));
	if (received != c->messages || sum != expected)
		return run_wrong(run, "%llu of %llu messages arrived, their sum is %llu, not %llu",
		                 (unsigned long long)received, (unsigned long long)c->messages,
		                 (unsigned long long)sum, (unsigned long long)expected);
	return 0;
}

static int chan_round(struct run *run, void *arg)
{
	struct channel_bench *c = arg;
	c->chan = green_chan_new(sizeof(uint64_t), c->capacity);
	if (!c->chan)
		return run_cannot(run, "no memory for the channel");
	run_mark(run);
	int64_t begin = green_now();
	int status = start(run, c);
	if (status)
		return status; /* the channel is still in use: the program ends */
	green_wg_wait(&c->producers_left);
	green_chan_close(c->chan);
	green_wg_wait(&c->consumers_left);
	double elapsed = (double)(green_now() - begin), messages = (double)c->messages;
	result_measure(&run->result, "ns_per_message", "ns", elapsed / messages);
	result_measure(&run->result, "ops_per_s", "messages/s", messages * 1e9 / elapsed);
	run_costs(run, messages);
	green_chan_free(c->chan);
	return check(run, c);
}

static int chan_body(struct run *run)
{
	struct channel_bench *c = run_alloc(run, 1, sizeof(*c));
	if (!c)
		return run->status;
	uint64_t threads = run_default(run->options->threads, 8 * run->workers);
	c->producers = threads > 1 ? threads / 2 : 1;
	c->consumers = threads > 1 ? threads - c->producers : 1;
	c->capacity = run_default(run->options->capacity, 128);
	c->messages = run_default(run->options->count, 1000000);
	result_number(&run->result, "producers", (double)c->producers);
	result_number(&run->result, "consumers", (double)c->consumers);
	result_number(&run->result, "capacity", (double)c->capacity);
	result_number(&run->result, "count", (double)c->messages);
	run_rounds(run, chan_round, c);
	free(c);
	return run->status;
}

static int chan_run(const struct options *options)
{
	return run_bench(options, "chan", chan_body);
}

const struct bench bench_chan = {
	.name = "chan",
	.about = "Producers and consumers share one buffered channel: nanoseconds a message.\n"
		 "--threads: half produce, half consume (default 8 a worker).\n"
		 "--capacity: elements the channel holds (default 128).\n"
		 "--count: messages in a round (default 1M).",
	.accepts = "threads capacity count",
	.examples = "  greenbench chan --workers 2\n"
		    "  greenbench chan --threads 64 --capacity 1 --count 200k --json\n",
	.run = chan_run,
};
