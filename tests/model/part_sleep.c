/* SPDX-License-Identifier: MIT
 *
 * How a worker falls asleep (loop.c) against those who hand it work (ready.c):
 * whatever comes, it does not sleep on while there is something to do.
 */
#include "shim.h"

#include "loop.c"
#include "ready.c"
#include "ring.c"
#include "sched.c"
#include "steal.c"

struct runtime rt;
static struct worker workers[2];
static struct gt descriptors[4]; /* 0 is nobody */
static bool rung;                /* the doorbell of worker 0 */
static unsigned got;

/* ---- the world around ------------------------------------------------------- */

static int64_t now(void)
{
	return 1000000000;
}
struct sys_table sys = { .now = now };

static bool is_rung(const void *unused)
{
	(void)unused;
	return rung;
}

/* A doorbell is a write to a descriptor: all that came before it is seen. */
static int engine_sleep(struct worker *w, int64_t wait_ns)
{
	(void)w;
	if (wait_ns != 0)
		model_wait(is_rung, NULL);
	rung = false;
	return 0;
}

static void engine_ring(struct worker *w)
{
	model_check(w == &workers[0]);
	atomic_thread_fence(memory_order_seq_cst); /* a system call */
	rung = true;
}

static bool engine_busy(struct worker *w)
{
	(void)w;
	return false;
}

static const struct engine_ops engine = { .poll = engine_sleep,
	                                  .doorbell = engine_ring,
	                                  .busy = engine_busy };

static void setup(void)
{
	static uint16_t victim[2] = { 1, 0 };

	memset(&rt, 0, sizeof(rt));
	memset(workers, 0, sizeof(workers));
	memset(descriptors, 0, sizeof(descriptors));
	gt_table = descriptors;
	rt.engine = &engine;
	rt.workers_count = 2;
	rung = false;
	got = 0;
	for (unsigned i = 0; i < 2; i++) {
		workers[i].id = (uint16_t)i;
		workers[i].victims = &victim[i];
		workers[i].tier_end[0] = workers[i].tier_end[1] = 1;
		workers[i].tier_end[2] = workers[i].tier_end[3] = 1;
		atomic_init(&workers[i].now, now());
		atomic_init(&workers[i].timers.first_ns, INT64_MAX);
		atomic_init(&rt.workers[i], &workers[i]);
	}
	for (unsigned i = 1; i < 4; i++)
		descriptors[i].stack = 1; /* they have started */
}

/* Thread 0 is the sleeper, 1 a worker that is awake, all others OS threads. */
static void on_switch(unsigned number)
{
	worker_set_self(number < 2 ? &workers[number] : NULL);
}

static void nobody_left_behind(void)
{
	model_check(got == 2);
	model_check(atomic_load_explicit(&rt.idle[0], memory_order_relaxed) == 0);
	model_check(workers[0].notified == NOT_NOTIFIED);
	model_check(workers[0].ringing == 0);
	model_check(rt.visitors == 0);
}

/* As idle(), whatever experience says: time stands still here, and a worker that
 * spins would do so for ever. */
static void sleep_now(struct worker *w)
{
	w->idle_ewma_ns = SPIN_WORTH_NS + 1;
	idle(w);
}

/* ---- started threads, through the inbox -------------------------------------- */

static void inbox(unsigned number)
{
	struct worker *w = &workers[0];

	if (number > 0) {
		sched_ready(gt_at(number));
		return;
	}
	while (got < 2) {
		sched_collect(w);
		while (local_pop(&w->local))
			got++;
		if (got < 2)
			sleep_now(w);
	}
	stop_spinning(w, false);
}

/* ---- never-run ones, through the arrivals ------------------------------------ */

static void arrivals(unsigned number)
{
	struct worker *w = &workers[0];

	if (number > 0) {
		sched_arrive(w, gt_at(number));
		return;
	}
	while (got < 2) {
		while (pick_arrival(w))
			got++;
		if (got < 2)
			sleep_now(w);
	}
	stop_spinning(w, false);
}

/* ---- migratable ones, to be stolen -------------------------------------------- */

static void shared(unsigned number)
{
	struct worker *w = &workers[0];

	if (number > 0) {
		for (unsigned i = 1; i <= 2; i++)
			if (sched_share(&workers[1], gt_at(i)))
				sched_wake_any();
		return;
	}
	while (got < 2) {
		start_spinning(w);
		while (steal_any(w) || pick_shared(w))
			got++;
		if (got < 2)
			sleep_now(w);
	}
	stop_spinning(w, false);
}

static const struct model models[] = {
	{ "inbox", 3, 2, 0, setup, inbox, nobody_left_behind, on_switch },
	{ "arrivals", 3, 2, 1, setup, arrivals, nobody_left_behind, on_switch },
	{ "to be stolen", 2, 2, 1, setup, shared, nobody_left_behind, on_switch },
};
MODEL_SUITE("sleep", models)
