/* SPDX-License-Identifier: MIT
 *
 * park: many green threads parked at once, what each costs in memory, and
 * whether every one of them wakes.
 *
 * A round parks them twice: first they may not hibernate, then they shall, soon.
 * Each worker spawns and wakes its share of them.
 *
 * Memory is all-in: resident pages, page tables and swap of the whole process,
 * less what it had before the first green thread was spawned.
 */
#include "page.h"
#include "place.h"
#include "proc.h"
#include "progress.h"
#include "run.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define THREADS 100000
#define WARM_UP_MAX 100000     /* threads; pools and code are then as in any round */
#define SETTLE_NS GREEN_MS(50) /* from the last thread's start until it is parked */
#define BYTES_ACTIVE 6000.0    /* to judge whether memory suffices */
#define BYTES_HIBERNATED 700.0
#define ACTIVE_MAX 1e6 /* more tell nothing new, and take 4 GB and more; */
#define ACTIVE_FEW 1e5 /* of more than that, so many */
#define HIBERNATE_MS 64
#define HIBERNATE_DEFAULT "64"
#define BEHIND_BYTES 1e9         /* of threads that shall, and do not yet */
#define QUIET_NS GREEN_S(5)      /* without one more stack that hibernates: these are all */
#define HIBERNATE_ACTIVE_MS 1024 /* while some threads are active, */
#define NAP_NS GREEN_MS(250)     /* which means that they sleep no longer than this */
#define DESCRIPTORS_KEPT 200     /* left for the runtime and the rest */

enum way { SLEEP, READ, SEM };

#define BATCH 256u /* threads that a worker spawns before it runs them */

/* What one worker spawns and wakes: every so many-th thread. */
struct lane {
	uint64_t first;
	int error; /* of a spawn */
	green_t thread;
	green_sem_t batch; /* one more has started */
	_Atomic uint64_t started;
};

struct park {
	enum way way;
	struct place place;
	struct lane *lanes;
	unsigned lanes_count;
	uint64_t threads;                        /* of this phase */
	uint64_t threads_wanted, threads_active; /* of the two phases */
	unsigned active_percent;
	double wake_ns; /* CPU time of one that was active */
	size_t depth;
	green_t *handles; /* sleep: to be cancelled */
	int *fds;         /* read: eventfds, shared when there are more threads */
	uint64_t fds_count;
	struct proc_memory before;
	green_sem_t sem, all_ended;
	green_wg_t begin;               /* those that are active do */
	int64_t hibernate_ns;           /* 0: never */
	bool hibernates;                /* in this phase */
	bool warm;                      /* there was a round */
	_Atomic bool stop;              /* those that are active */
	_Atomic uint64_t active, begun; /* how many those are, and have slept once */
	_Atomic uint64_t woken, ended;
};

static struct park park;

/* Waits in the chosen way; true when it was woken as it should be. */
static bool wait_once(uint64_t number)
{
	uint64_t value = 0;
	switch (park.way) {
	case SLEEP:
		return green_sleep(GREEN_S(1000000)) == -ECANCELED;
	case READ:
		return green_read(park.fds[number % park.fds_count], &value, sizeof(value)) == 8 &&
		       value == 1;
	default:
		return green_sem_wait(&park.sem) == 0;
	}
}

/* What a thread has on its stack while it is parked, and finds there again. */
#define WORDS 4

#define DEPTH_USUAL 50000 /* that fits in a stack of the usual size */
#define DEPTH_MORE 8000   /* for all the rest */

/* Like no other (splitmix64, Steele and others, 2014): it cannot be packed. */
static uint64_t word_of(uint64_t number, uint64_t i)
{
	uint64_t z = (number * WORDS + i + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void fill(uint64_t *words, uint64_t number)
{
	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = word_of(number, i);
	__asm__ volatile("" : : "r"(words) : "memory"); /* they lie on the stack */
}

static bool intact(const uint64_t *words, uint64_t number)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (words[i] != word_of(number, i))
			return false;
	return true;
}

static bool is_active(uint64_t number)
{
	uint64_t hash = (number + 1) * 0x9e3779b97f4a7c15u;

	return park.hibernates && (hash >> 32) % 100 < park.active_percent;
}

/* Sleeps for short times, from when all are there until all shall wake.  From the start on,
 * they would take from the others the time to start, the more the longer that takes. */
static void be_active(uint64_t number)
{
	int64_t nap = NAP_NS / 2 + (int64_t)(number % 1024) * (NAP_NS / 2048);

	green_wg_wait(&park.begin);
	int r = green_sleep(nap);
	atomic_fetch_add_explicit(&park.begun, 1, memory_order_relaxed);
	while (r == 0 && !atomic_load_explicit(&park.stop, memory_order_relaxed))
		r = green_sleep(nap);
}

static __attribute__((noinline)) void go_deep(size_t depth)
{
	volatile char *low = __builtin_alloca(depth);

	for (size_t at = 0; at < depth; at += 4096)
		low[at] = 1;
}

static void tell_started(struct lane *lane)
{
	uint64_t before = atomic_fetch_add_explicit(&lane->started, 1, memory_order_relaxed);

	if ((before + 1) % BATCH == 0)
		green_sem_post(&lane->batch);
}

static void *parker(void *arg)
{
	uint64_t words[WORDS];

	if (park.depth)
		go_deep(park.depth);
	fill(words, (uint64_t)arg);
	if (is_active((uint64_t)arg))
		atomic_fetch_add_explicit(&park.active, 1, memory_order_relaxed);
	tell_started(&park.lanes[(uint64_t)arg % park.lanes_count]);
	if (is_active((uint64_t)arg))
		be_active((uint64_t)arg);
	if (wait_once((uint64_t)arg) && intact(words, (uint64_t)arg))
		atomic_fetch_add_explicit(&park.woken, 1, memory_order_relaxed);
	/* The last one's post makes the counts above visible to the waiter. */
	if (atomic_fetch_add_explicit(&park.ended, 1, memory_order_acq_rel) + 1 == park.threads)
		green_sem_post(&park.all_ended);
	return NULL;
}

/* Lets the sweeper catch up: more threads than that need not have their stacks. */
static void wait_swept(void)
{
	size_t behind = (size_t)(BEHIND_BYTES / (BYTES_ACTIVE + (double)park.depth));
	struct green_info info;

	while (park.hibernates && green_info(&info) == 0 &&
	       info.threads > info.stacks_hibernated + behind)
		green_sleep(GREEN_MS(5));
}

static void *spawn_lane(void *arg)
{
	struct lane *lane = arg;
	struct green_attr attr = {
		.detached = true,
		.stack_size = park.depth > DEPTH_USUAL ? park.depth + DEPTH_MORE : 0,
		.hibernate_after_ns = park.hibernates ? park.hibernate_ns : GREEN_FOREVER,
	};
	uint64_t spawned = 0;

	for (uint64_t i = lane->first; i < park.threads; i += park.lanes_count) {
		lane->error = green_spawn(&park.handles[i], &attr, parker, (void *)i);
		if (lane->error)
			break;
		if (++spawned % BATCH)
			continue;
		green_sem_wait(&lane->batch);
		wait_swept();
	}
	return NULL;
}

/* Runs fn for each lane, on its worker. */
static int on_all_lanes(struct run *run, green_fn fn)
{
	unsigned n = 0;

	for (; n < park.lanes_count && !run->status; n++) {
		struct green_attr attr = place_attr(&park.place, n, false);
		if (run_spawn(run, &park.lanes[n].thread, &attr, fn, &park.lanes[n]))
			break;
	}
	while (n-- > 0)
		green_join(park.lanes[n].thread, NULL);
	return run->status;
}

static uint64_t started(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < park.lanes_count; i++)
		sum += atomic_load_explicit(&park.lanes[i].started, memory_order_relaxed);
	return sum;
}

static int spawn_all(struct run *run)
{
	atomic_store_explicit(&park.stop, false, memory_order_relaxed);
	atomic_store_explicit(&park.active, 0, memory_order_relaxed);
	atomic_store_explicit(&park.begun, 0, memory_order_relaxed);
	atomic_store_explicit(&park.woken, 0, memory_order_relaxed);
	atomic_store_explicit(&park.ended, 0, memory_order_relaxed);
	green_wg_add(&park.begin, 1);
	for (unsigned i = 0; i < park.lanes_count; i++)
		atomic_store_explicit(&park.lanes[i].started, 0, memory_order_relaxed);
	if (on_all_lanes(run, spawn_lane))
		return run->status;
	for (unsigned i = 0; i < park.lanes_count; i++)
		if (park.lanes[i].error)
			return run_cannot(run, "a green thread could not be spawned: %s",
			                  strerror(-park.lanes[i].error));
	while (started() < park.threads) {
		progress("park: %llu of %llu threads parked", (unsigned long long)started(),
		         (unsigned long long)park.threads);
		green_sleep(GREEN_MS(1));
	}
	return 0;
}

static void *wake_lane(void *arg)
{
	struct lane *lane = arg;

	switch (park.way) {
	case SLEEP:
		for (uint64_t i = lane->first; i < park.threads; i += park.lanes_count)
			green_cancel(park.handles[i]);
		break;
	case READ:
		for (uint64_t i = lane->first; i < park.fds_count; i += park.lanes_count) {
			uint64_t readers =
				park.threads / park.fds_count + (i < park.threads % park.fds_count);
			if (write(park.fds[i], &readers, sizeof(readers)) < 0)
				break; /* its readers stay: the watchdog tells */
		}
		break;
	case SEM:
		for (uint64_t i = lane->first; i < park.threads; i += park.lanes_count)
			green_sem_post(&park.sem);
		break;
	}
	return NULL;
}

static void wake_all(struct run *run)
{
	atomic_store_explicit(&park.stop, true, memory_order_relaxed);
	if (on_all_lanes(run, wake_lane) == 0)
		green_sem_wait(&park.all_ended);
}

/* Waits until all stacks sleep that can, or no more do. */
static bool wait_hibernated(struct run *run)
{
	uint64_t can = park.threads - atomic_load_explicit(&park.active, memory_order_relaxed);
	struct green_info info;
	size_t most = 0;
	int64_t changed = green_now();

	do {
		if (green_info(&info))
			return false;
		if (info.stacks_hibernated > most) {
			most = info.stacks_hibernated;
			changed = green_now();
		}
		progress("park: %zu of %llu stacks hibernated", info.stacks_hibernated,
		         (unsigned long long)can);
		green_sleep(GREEN_MS(20));
	} while (most < can && green_now() - changed < 2 * park.hibernate_ns + QUIET_NS);
	return most >= can - can / 100 ||
	       !run_wrong(run, "%zu of %llu stacks hibernate", most, (unsigned long long)can);
}

/* What a phase found, in the names of its figures. */
struct names {
	const char *bytes, *rss, *pte, *park_ns, *park_cpu_ns, *wake_ns, *wake_cpu_ns;
};

static int64_t cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return GREEN_S(now.tv_sec) + now.tv_nsec;
}

/* Those that are active; returns when each has slept once. */
static void let_begin(void)
{
	green_wg_done(&park.begin);
	while (atomic_load_explicit(&park.begun, memory_order_relaxed) <
	       atomic_load_explicit(&park.active, memory_order_relaxed))
		green_sleep(GREEN_MS(5));
}

/* By CPU time of the monitor, who does it, and by what a wake takes more of than without;
 * beside a page's first touch. */
static void hibernation_costs(struct run *run, double hibernate_ns, double restore_ns)
{
	double page_ns = page_fault_ns();

	result_measure(&run->result, "hibernate_ns", "ns", hibernate_ns);
	result_measure(&run->result, "restore_ns", "ns", restore_ns);
	result_measure(&run->result, "plain_ns_page", "ns", page_ns);
	result_measure(&run->result, "ratio_hibernate", "times a page", hibernate_ns / page_ns);
	result_measure(&run->result, "ratio_restore", "times a page", restore_ns / page_ns);
}

static int phase(struct run *run, const struct names *names)
{
	struct proc_memory parked;
	double threads = (double)park.threads, monitor_ns = proc_thread_ns("green-monitor");
	int64_t begin = green_now(), begin_cpu = cpu_now();

	if (spawn_all(run))
		return run->status;
	/* From here on, all of them wait. */
	int64_t there = green_now();
	let_begin();
	int64_t begun = green_now();
	if (!park.hibernates)
		green_sleep(SETTLE_NS);
	else if (!wait_hibernated(run))
		return run->status;
	int64_t parked_cpu = cpu_now();
	if (park.hibernates)
		result_measure(&run->result, "s_to_hibernate", "s",
		               (double)(green_now() - begun) / 1e9);
	monitor_ns = proc_thread_ns("green-monitor") - monitor_ns;
	int error = proc_memory(0, &parked);
	int64_t wake = green_now();
	wake_all(run);
	if (run->status)
		return run->status;
	int64_t end = green_now(), end_cpu = cpu_now();
	if (error)
		return run_cannot(run, "/proc/self/status: %s", strerror(-error));
	result_measure(&run->result, names->bytes, "bytes",
	               (proc_bytes(&parked) - proc_bytes(&park.before)) / threads);
	result_measure(&run->result, names->rss, "bytes",
	               1024.0 * (double)(parked.rss_kb - park.before.rss_kb) / threads);
	result_measure(&run->result, names->pte, "bytes",
	               1024.0 * (double)(parked.pte_kb - park.before.pte_kb) / threads);
	result_measure(&run->result, names->park_ns, "ns", (double)(there - begin) / threads);
	result_measure(&run->result, names->park_cpu_ns, "ns",
	               (double)(parked_cpu - begin_cpu) / threads);
	result_measure(&run->result, names->wake_ns, "ns", (double)(end - wake) / threads);
	double wake_ns = (double)(end_cpu - parked_cpu) / threads;
	result_measure(&run->result, names->wake_cpu_ns, "ns", wake_ns);
	if (!park.hibernates) {
		park.wake_ns = wake_ns;
		result_measure(&run->result, "ops_per_s", "wakes/s",
		               threads * 1e9 / (double)(end - wake));
	} else if (!park.active_percent) {
		hibernation_costs(run, monitor_ns / threads, wake_ns - park.wake_ns);
	}
	uint64_t woken = atomic_load_explicit(&park.woken, memory_order_relaxed);
	if (woken != park.threads)
		return run_wrong(run, "%llu of %llu threads woke as they should",
		                 (unsigned long long)woken, (unsigned long long)park.threads);
	return 0;
}

static uint64_t at_most_warm_up(uint64_t threads)
{
	return park.warm || threads < WARM_UP_MAX ? threads : WARM_UP_MAX;
}

static int park_active(struct run *run)
{
	static const struct names names = {
		.bytes = "bytes_per_thread_active",
		.rss = "rss_bytes_per_thread",
		.pte = "pte_bytes_per_thread",
		.park_ns = "ns_to_park",
		.park_cpu_ns = "cpu_ns_to_park",
		.wake_ns = "ns_to_wake",
		.wake_cpu_ns = "cpu_ns_to_wake",
	};

	park.hibernates = false;
	park.threads = at_most_warm_up(park.threads_active);
	return phase(run, &names);
}

static int park_hibernated(struct run *run)
{
	static const struct names names = {
		.bytes = "bytes_per_thread_hibernated",
		.rss = "rss_bytes_per_thread_hibernated",
		.pte = "pte_bytes_per_thread_hibernated",
		.park_ns = "ns_to_park_hibernated",
		.park_cpu_ns = "cpu_ns_to_park_hibernated",
		.wake_ns = "ns_to_wake_hibernated",
		.wake_cpu_ns = "cpu_ns_to_wake_hibernated",
	};

	park.hibernates = true;
	park.threads = at_most_warm_up(park.threads_wanted);
	return phase(run, &names);
}

static int park_round(struct run *run, void *arg)
{
	int64_t begin = green_now();
	struct green_info info;

	(void)arg;
	if (park_active(run))
		return run->status;
	if (park.hibernate_ns && green_info(&info) == 0 && strstr(info.features, "+uffd_wp") &&
	    park_hibernated(run))
		return run->status;
	park.warm = true;
	result_measure(&run->result, "round_s", "s", (double)(green_now() - begin) / 1e9);
	return 0;
}

static int open_fds(struct run *run)
{
	uint64_t limit = proc_raise_nofile();
	uint64_t room = limit > DESCRIPTORS_KEPT + 1 ? limit - DESCRIPTORS_KEPT : 1;
	uint64_t count = park.threads_wanted < room ? park.threads_wanted : room;
	park.fds = run_alloc(run, count, sizeof(int));
	if (!park.fds)
		return run->status;
	for (; park.fds_count < count; park.fds_count++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
		if (fd < 0)
			return run_cannot(run, "descriptor %llu: %s",
			                  (unsigned long long)park.fds_count, strerror(errno));
		park.fds[park.fds_count] = fd;
	}
	result_number(&run->result, "descriptors", (double)count);
	return 0;
}

static int make_lanes(struct run *run)
{
	if (place_init(&park.place, run))
		return run->status;
	park.lanes_count = run->workers;
	park.lanes = run_alloc(run, park.lanes_count, sizeof(*park.lanes));
	for (unsigned i = 0; park.lanes && i < park.lanes_count; i++) {
		park.lanes[i].first = i;
	}
	return run->status;
}

/* Those that hibernate need less: of many, not all may fit while active. */
static int prepare(struct run *run)
{
	double have = proc_available_bytes(), wanted = (double)park.threads_wanted;
	double active = BYTES_ACTIVE + (double)park.depth;
	double each =
		park.hibernate_ns ? BYTES_HIBERNATED + active / 100 * park.active_percent : active;

	if (each * wanted > have)
		return run_cannot(run,
		                  "%.0f threads need about %.0f MB, %.0f MB are available; "
		                  "give --threads %.0f",
		                  wanted, each * wanted / 1e6, have / 1e6, have / each);
	double fit = have / 4 / active;

	if (fit > ACTIVE_MAX)
		fit = ACTIVE_MAX;
	if (wanted > ACTIVE_MAX && fit > ACTIVE_FEW)
		fit = ACTIVE_FEW;
	park.threads_active = wanted < fit ? park.threads_wanted : (uint64_t)fit;
	result_number(&run->result, "threads_active", (double)park.threads_active);
	park.handles = run_alloc(run, park.threads_wanted, sizeof(*park.handles));
	if (!park.handles || (park.way == READ && open_fds(run)))
		return run->status;
	/* Touched: they are not what is measured. */
	memset(park.handles, 0xff, park.threads_wanted * sizeof(*park.handles));
	int error = proc_memory(0, &park.before);
	if (error)
		return run_cannot(run, "/proc/self/status: %s", strerror(-error));
	return 0;
}

static int park_body(struct run *run)
{
	static const char *const names[] = { "sleep", "read", "sem" };
	park.threads_wanted = run_default(run->options->threads, THREADS);
	park.active_percent = (unsigned)run->options->active;
	park.depth = run->options->depth;
	if (park.depth)
		result_number(&run->result, "depth", (double)park.depth);
	result_number(&run->result, "threads", (double)park.threads_wanted);
	if (park.active_percent)
		result_number(&run->result, "active_percent", park.active_percent);
	result_text(&run->result, "how", names[park.way]);
	if (make_lanes(run) == 0 && prepare(run) == 0)
		run_rounds(run, park_round, NULL);
	for (uint64_t i = 0; i < park.fds_count; i++)
		green_close(park.fds[i]);
	free(park.fds);
	free(park.handles);
	free(park.lanes);
	place_free(&park.place);
	return run->status;
}

static int64_t hibernate_after(const struct options *options)
{
	const char *given = getenv("GREEN_HIBERNATE_MS");

	if (given)
		return GREEN_MS(strtoll(given, NULL, 10));
	return GREEN_MS(options->active ? HIBERNATE_ACTIVE_MS : HIBERNATE_MS);
}

static int park_run(const struct options *given)
{
	struct options changed = *given, *options = &changed;
	const char *how = options->how ? options->how : "sleep";
	if (!strcmp(how, "sleep"))
		park.way = SLEEP;
	else if (!strcmp(how, "read"))
		park.way = READ;
	else if (!strcmp(how, "sem"))
		park.way = SEM;
	else
		return options_bad("how", "give sleep, read or sem");
	/* Of so many, one is enough. */
	if (!options->rounds && (double)options->threads > ACTIVE_MAX)
		options->rounds = 1;
	park.hibernate_ns = hibernate_after(options);
	setenv("GREEN_HIBERNATE_MS", HIBERNATE_DEFAULT, 0); /* or threads would stay awake */
	return run_bench(options, "park", park_body);
}

const struct bench bench_park = {
	.name = "park",
	.about = "Parks many green threads at once, measures the memory of each (resident,\n"
		 "page tables, swap), wakes all, checks what lay on their stacks, and counts\n"
		 "them: first while they may not hibernate, a million at most (a tenth of that,\n"
		 "of more) and as many as a quarter of the memory holds; then all, hibernated\n"
		 "(after GREEN_HIBERNATE_MS, or 64; 0: not at all).\n"
		 "--threads: parked at once (default 100k); of more than 1M, one round is the "
		 "default.\n"
		 "--active: of those that hibernate, so many in a hundred, chosen by chance,\n"
		 "wake several times a second, once all are there.\n"
		 "--depth: stack that each has used before it parks.\n"
		 "--how: sleep (default; woken by green_cancel), read (of an eventfd), sem.",
	.accepts = "threads how active depth",
	.examples = "  greenbench park --threads 1000000 --rounds 1\n"
		    "  greenbench park --how read --threads 10000 --json\n"
		    "  greenbench park --threads 1M --active 10 --rounds 1\n",
	.run = park_run,
};
