/* SPDX-License-Identifier: MIT
 *
 * Seeded stress: from each seed a random program of sessions (sessions.h) with a
 * random number of workers and either engine.
 *
 *	stress_mix [--seed FIRST] [--seeds COUNT] [--seconds MOST]
 *
 * GREEN_WORKERS and GREEN_ENGINE fix what is random otherwise.  Seeds run in
 * child processes; the one that failed, crashed or hung is printed, and is run
 * again by --seed N --seeds 1.
 */
#include "sessions.h"

#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define SLOWNESS 6
#else
#define SLOWNESS 1
#endif
#define LIMIT_S (20 * SLOWNESS) /* for one seed: a hang */
#define SEEDS 300               /* when nothing is asked for */
#define SECONDS 25
#define BATCH 20 /* seeds in one process */

/* ---- one seed ----------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct session *s);
} kinds[] = {
	{ "mutex", session_mutex },
	{ "cond", session_cond },
	{ "ping-pong", session_ping_pong },
	{ "deadlines", session_deadlines },
	{ "wait group", session_wait_group },
	{ "channel", session_channel },
	{ "select", session_select },
	{ "tree", session_tree },
	{ "sleep", session_sleep },
	{ "serial", session_serial },
	{ "offload", session_offload },
	{ "cancel", session_cancel },
	{ "join", session_join },
	{ "socket", session_socket },
	{ "close", session_close },
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static void run_session(uint64_t seed)
{
	struct session *s = calloc(1, sizeof(*s));

	REQUIRE(s != NULL);
	s->rng = rng_seed(seed);
	s->crew = 1 + below(s, CREW);
	s->items = 1 + below(s, 200);
	unsigned kind = below(s, KINDS);
	unsigned before = checks_failed();
	kinds[kind].run(s);
	if (checks_failed() > before)
		printf("in a session \"%s\"\n", kinds[kind].name);
	for (int i = 0; i < 3; i++)
		green_chan_free(s->chans[i]);
	free(s);
}

static void *act(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	unsigned sessions = 4 + (unsigned)(seed % 16);

	for (unsigned i = 0; i < sessions; i++)
		run_session(seed * 1000 + i);
	return NULL;
}

static void *program(void *arg)
{
	struct rng *rng = arg;
	unsigned actors = 2 + (unsigned)rng_below(rng, 10);
	green_t threads[12];

	for (unsigned i = 0; i < actors; i++) {
		struct green_attr attr = { .migratable = rng_below(rng, 2) };
		threads[i] = start_with(&attr, act, (void *)(uintptr_t)(rng_next(rng) >> 20));
	}
	for (unsigned i = 0; i < actors; i++)
		join_green(threads[i]);
	/* Some are left behind, and cancelled by the end of the run. */
	for (uint64_t i = rng_below(rng, 5); i > 0; i--)
		CHECK_EQ(green_go(sleep_for, (void *)GREEN_FOREVER), 0);
	return NULL;
}

static void run_seed(uint64_t seed)
{
	struct rng rng = rng_seed(seed);
	struct green_options options = { .workers = 1 + (unsigned)rng_below(&rng, 8) };
	struct green_info info;

	if (rng_below(&rng, 2))
		options.engine = GREEN_ENGINE_EPOLL;
	REQUIRE_EQ(green_init(&options), 0);
	CHECK_EQ(green_run(program, &rng, NULL), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.threads, 0);
	CHECK_EQ(info.stacks_used, 0);
	CHECK_EQ(green_fini(), 0);
}

/* ---- all seeds ------------------------------------------------------------------------ */

static struct {
	_Atomic uint64_t seed, done;
	_Atomic int64_t since;
} * progress;

static int64_t end_ns;

static void on_terminate(int sig)
{
	(void)sig;
	green_dump(STDOUT_FILENO);
	_exit(1);
}

/* Runs seeds up to last in this process; stops at a failure. */
static _Noreturn void run_batch(uint64_t first, uint64_t last)
{
	signal(SIGTERM, on_terminate);
	for (uint64_t seed = first; seed <= last && green_now() < end_ns; seed++) {
		atomic_store(&progress->seed, seed);
		atomic_store(&progress->since, green_now());
		run_seed(seed);
		if (checks_failed())
			exit(1);
		atomic_fetch_add(&progress->done, 1);
	}
	exit(0);
}

/* The child's exit status, or 128 + signal; 255: it hung. */
static int await_batch(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (green_now() - atomic_load(&progress->since) > GREEN_S(LIMIT_S)) {
			kill(pid, SIGTERM);
			usleep(1000000);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return 255;
		}
		usleep(5000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_all(uint64_t first, uint64_t count)
{
	for (uint64_t seed = first; seed < first + count && green_now() < end_ns; seed += BATCH) {
		uint64_t last = seed + BATCH - 1;
		if (last >= first + count)
			last = first + count - 1;
		atomic_store(&progress->since, green_now());
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0)
			run_batch(seed, last);
		int status = pid < 0 ? -1 : await_batch(pid);
		if (status) {
			printf("error: seed %llu %s (status %d): again by --seed %llu --seeds 1\n",
			       (unsigned long long)atomic_load(&progress->seed),
			       status == 255 ? "hung" : "failed", status,
			       (unsigned long long)atomic_load(&progress->seed));
			return 1;
		}
	}
	printf("%llu seeds from %llu passed\n", (unsigned long long)atomic_load(&progress->done),
	       (unsigned long long)first);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "seed", required_argument, NULL, 's' },
		                                 { "seeds", required_argument, NULL, 'n' },
		                                 { "seconds", required_argument, NULL, 't' },
		                                 { NULL, 0, NULL, 0 } };
	uint64_t first = 1, count = SEEDS;
	int64_t seconds = SECONDS;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 's':
			first = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			count = strtoull(optarg, NULL, 0);
			break;
		case 't':
			seconds = strtoll(optarg, NULL, 0);
			break;
		default:
			fprintf(stderr,
			        "usage: %s [--seed FIRST] [--seeds COUNT] [--seconds MOST]\n",
			        argv[0]);
			return 2;
		}
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                -1, 0);
	if (progress == MAP_FAILED)
		return 1;
	end_ns = green_now() + GREEN_S(seconds);
	return run_all(first, count);
}
