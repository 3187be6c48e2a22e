/* SPDX-License-Identifier: MIT
 *
 * Spawn, join, detach, names and handles: what they do and every error.
 */
#include "harness.h"

#include "stack.h"

#include <limits.h>

static void *identity(void *arg)
{
	return arg;
}

static void *wait_for_flag(void *arg)
{
	_Atomic bool *flag = arg;

	WAIT_FOR(atomic_load(flag));
	return arg;
}

/* ---- results and errors ------------------------------------------------------ */

GREEN_TEST(result_comes_through)
{
	void *result = NULL;
	green_t t = start_green(identity, (void *)0x1234);

	CHECK_EQ(green_join(t, &result), 0);
	CHECK(result == (void *)0x1234);
	t = start_green(identity, NULL);
	CHECK_EQ(green_join(t, NULL), 0);
}

TEST(result_of_run)
{
	void *result = NULL;

	CHECK_EQ(green_run(identity, (void *)77, &result), 0);
	CHECK(result == (void *)77);
	CHECK_EQ(green_run(identity, (void *)78, NULL), 0);
}

GREEN_TEST(stale_handles)
{
	green_t t = start_green(identity, NULL);
	char name[32];

	CHECK_EQ(green_join(t, NULL), 0);
	CHECK_EQ(green_join(t, NULL), -ESRCH);
	CHECK_EQ(green_detach(t), -ESRCH);
	CHECK_EQ(green_cancel(t), -ESRCH);
	CHECK_EQ(green_set_name(t, "x"), -ESRCH);
	CHECK_EQ(green_get_name(t, name, sizeof(name)), -ESRCH);
	/* Its descriptor has a new life now, most likely. */
	for (int i = 0; i < 100; i++) {
		green_t next = start_green(identity, NULL);
		CHECK_NE(next, t);
		CHECK_EQ(green_join(t, NULL), -ESRCH);
		join_green(next);
	}
}

static void check_invalid(green_t handle)
{
	char name[32];

	CHECK_EQ(green_join(handle, NULL), -ESRCH);
	CHECK_EQ(green_detach(handle), -ESRCH);
	CHECK_EQ(green_cancel(handle), -ESRCH);
	if (handle != GREEN_NONE) {
		CHECK_EQ(green_set_name(handle, "x"), -ESRCH);
		CHECK_EQ(green_get_name(handle, name, sizeof(name)), -ESRCH);
	}
}

static void check_all_invalid(void)
{
	struct rng rng = rng_seed(3);

	check_invalid(GREEN_NONE);
	check_invalid(1);
	check_invalid(UINT64_MAX);
	check_invalid((green_t)INT64_MIN);
	check_invalid(0x3ffffff);
	check_invalid(~(green_t)0x3ffffff);
	for (int i = 0; i < 10000; i++)
		check_invalid(rng_next(&rng) | (green_t)1 << 63);
}

GREEN_TEST(invalid_handles)
{
	check_all_invalid();
}

TEST(invalid_handles_without_runtime)
{
	check_all_invalid();
	REQUIRE_EQ(green_init(NULL), 0);
	check_all_invalid();
	REQUIRE_EQ(green_fini(), 0);
	check_all_invalid();
}

GREEN_TEST(own_handle)
{
	CHECK_EQ(green_join(green_self(), NULL), -EDEADLK);
	CHECK_EQ(green_detach(green_self()), -EINVAL); /* the first is detached already */
}

static void *detach_self(void *arg)
{
	_Atomic bool *detached = arg;

	CHECK_EQ(green_join(green_self(), NULL), -EDEADLK);
	CHECK_EQ(green_detach(green_self()), 0);
	CHECK_EQ(green_detach(green_self()), -EINVAL);
	CHECK_EQ(green_join(green_self(), NULL), -EDEADLK);
	atomic_store(detached, true);
	return NULL;
}

GREEN_TEST(detaches_itself)
{
	_Atomic bool *detached = calloc(1, sizeof(*detached));
	green_t t = start_green(detach_self, (void *)detached);

	WAIT_FOR(atomic_load(detached));
	int r = green_join(t, NULL);
	CHECK(r == -EINVAL || r == -ESRCH);
	WAIT_FOR(green_join(t, NULL) == -ESRCH);
	free((void *)detached);
}

GREEN_TEST(detached_cannot_be_joined)
{
	_Atomic bool *go = calloc(1, sizeof(*go));
	struct green_attr attr = { .detached = true };
	green_t t = start_with(&attr, wait_for_flag, (void *)go);

	CHECK_EQ(green_join(t, NULL), -EINVAL);
	CHECK_EQ(green_detach(t), -EINVAL);
	atomic_store(go, true);
	int r;
	WAIT_FOR((r = green_join(t, NULL)) != -EINVAL);
	CHECK_EQ(r, -ESRCH);
	free((void *)go);
}

GREEN_TEST(detach_after_the_end)
{
	green_t t = start_green(identity, NULL);

	green_sleep(GREEN_MS(5));
	CHECK_EQ(green_detach(t), 0);
	CHECK_EQ(green_join(t, NULL), -ESRCH);
}

struct join_job {
	green_t thread;
	int result;
	void *value;
};

static void *join_it(void *arg)
{
	struct join_job *job = arg;

	job->result = green_join(job->thread, &job->value);
	return arg;
}

GREEN_TEST(two_joiners)
{
	_Atomic bool *go = calloc(1, sizeof(*go));
	struct join_job *job = calloc(1, sizeof(*job));

	job->thread = start_green(wait_for_flag, (void *)go);
	green_t joiner = start_green(join_it, job);
	await_parked(joiner);
	CHECK_EQ(green_join(job->thread, NULL), -EINVAL);
	CHECK_EQ(green_detach(job->thread), -EINVAL);
	atomic_store(go, true);
	join_green(joiner);
	CHECK_EQ(job->result, 0);
	CHECK(job->value == go);
	CHECK_EQ(green_join(job->thread, NULL), -ESRCH);
	free(job);
	free((void *)go);
}

/* Of several who race for one that is about to end, exactly one gets it. */
GREEN_TEST(joiners_race)
{
	enum { JOINERS = 4 };
	struct join_job *jobs = calloc(JOINERS, sizeof(*jobs));

	for (unsigned round = 0; round < scaled(3000); round++) {
		green_t target = start_green(identity, (void *)(uintptr_t)round), joiners[JOINERS];
		for (int i = 0; i < JOINERS; i++) {
			jobs[i] = (struct join_job){ .thread = target };
			joiners[i] = start_green(join_it, &jobs[i]);
		}
		unsigned won = 0;
		for (int i = 0; i < JOINERS; i++) {
			join_green(joiners[i]);
			won += jobs[i].result == 0;
			CHECK(jobs[i].result == 0 || jobs[i].result == -EINVAL ||
			      jobs[i].result == -ESRCH);
			if (jobs[i].result == 0)
				CHECK_EQ((uintptr_t)jobs[i].value, round);
		}
		CHECK_EQ(won, 1);
	}
	free(jobs);
}

GREEN_TEST(join_again_after_a_deadline)
{
	_Atomic bool *go = calloc(1, sizeof(*go));
	green_t t = start_green(wait_for_flag, (void *)go);

	for (int i = 0; i < 3; i++) {
		struct green_deadline scope;
		green_deadline_begin(&scope, GREEN_MS(2));
		CHECK_EQ(green_join(t, NULL), -ETIMEDOUT);
		CHECK(green_deadline_end(&scope));
	}
	atomic_store(go, true);
	CHECK(join_green(t) == go);
	free((void *)go);
}

/* The joiner gives up again and again while the other one ends: the end must
 * not be lost on a later attempt (the join word looks the same each time). */
static void *join_impatiently(void *arg)
{
	struct join_job *job = arg;
	struct rng rng = rng_seed((uintptr_t)job->value);

	do {
		struct green_deadline scope;
		green_deadline_begin(&scope, (int64_t)rng_below(&rng, 20000));
		job->result = green_join(job->thread, NULL);
		green_deadline_end(&scope);
	} while (job->result == -ETIMEDOUT && rng_below(&rng, 8));
	if (job->result == -ETIMEDOUT) /* and at last without end */
		job->result = green_join(job->thread, NULL);
	return NULL;
}

static void *end_at_random(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	green_sleep((int64_t)rng_below(&rng, 60000));
	return NULL;
}

GREEN_TEST(impatient_joiners)
{
	enum { PAIRS = 50 };
	struct join_job *jobs = calloc(PAIRS, sizeof(*jobs));
	green_t joiners[PAIRS];

	for (unsigned round = 0; round < scaled(60); round++) {
		for (uintptr_t i = 0; i < PAIRS; i++) {
			jobs[i].value = (void *)(round * PAIRS + i);
			jobs[i].thread = start_green(end_at_random, jobs[i].value);
			joiners[i] = start_green(join_impatiently, &jobs[i]);
		}
		for (int i = 0; i < PAIRS; i++) {
			join_green(joiners[i]);
			CHECK_EQ(jobs[i].result, 0);
		}
	}
	free(jobs);
}

GREEN_TEST(cancelled_joiner)
{
	_Atomic bool *go = calloc(1, sizeof(*go));
	struct join_job *job = calloc(1, sizeof(*job));

	job->thread = start_green(wait_for_flag, (void *)go);
	green_t joiner = start_green(join_it, job);
	await_parked(joiner);
	CHECK_EQ(green_cancel(joiner), 0);
	join_green(joiner);
	CHECK_EQ(job->result, -ECANCELED);
	atomic_store(go, true);
	CHECK(join_green(job->thread) == go);
	free(job);
	free((void *)go);
}

/* ---- attributes ---------------------------------------------------------------- */

GREEN_TEST(bad_attributes)
{
	struct green_serial *serial = green_serial_new();
	struct green_attr both = { .migratable = true, .serial = serial };
	struct green_attr large = { .stack_size = STACK_SIZE_MAX + 1 };
	struct green_attr huge = { .stack_size = SIZE_MAX };
	green_t t = 5;

	CHECK_EQ(green_spawn(&t, &both, identity, NULL), -EINVAL);
	CHECK_EQ(green_spawn(&t, &large, identity, NULL), -EINVAL);
	CHECK_EQ(green_spawn(&t, &huge, identity, NULL), -EINVAL);
	CHECK_EQ(green_spawn(NULL, NULL, identity, NULL), -EINVAL);
	CHECK_EQ(green_spawn(&t, NULL, NULL, NULL), -EINVAL);
	CHECK_EQ(green_go(NULL, NULL), -EINVAL);
	green_serial_free(serial);
}

static __attribute__((noinline)) size_t eat_stack(size_t bytes)
{
	volatile char frame[1024];

	frame[0] = frame[1023] = (char)bytes;
	return bytes < 2048 ? (size_t)frame[0] : eat_stack(bytes - 1024) + (size_t)frame[1023];
}

static void *use_stack(void *arg)
{
	eat_stack((size_t)(uintptr_t)arg);
	return NULL;
}

GREEN_TEST(stack_sizes)
{
	static const size_t sizes[] = {
		0, 1, 17, 4096, 65536, 65537, 256 * 1024, 256 * 1024 + 1, STACK_SIZE_MAX
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct green_attr attr = { .stack_size = sizes[i] };
		/* What is left is for the frames' own overhead. */
		size_t usable = sizes[i] > 65536 ? sizes[i] / 4 * 3 : 32768;
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
		usable /= 4; /* their frames are larger */
#endif
		for (int k = 0; k < 3; k++)
			join_green(start_with(&attr, use_stack, (void *)usable));
	}
}

GREEN_TEST(detached_needs_no_handle)
{
	_Atomic bool *flag = calloc(1, sizeof(*flag));
	struct green_attr attr = { .detached = true };

	atomic_store(flag, true);
	CHECK_EQ(green_spawn(NULL, &attr, wait_for_flag, (void *)flag), 0);
	CHECK_EQ(green_go(wait_for_flag, (void *)flag), 0);
	struct green_info info;
	WAIT_FOR(green_info(&info) == 0 && info.threads == 1);
	free((void *)flag);
}

GREEN_TEST(names)
{
	const char *const longest = "0123456789012345678901234567890"; /* 31 */
	char name[64], longer[100], tiny[4];
	_Atomic bool *go = calloc(1, sizeof(*go));
	struct green_attr attr = { .name = longer };

	memset(longer, 'x', sizeof(longer) - 1);
	longer[99] = 0;
	green_t t = start_with(&attr, wait_for_flag, (void *)go);
	memset(longer, 0, sizeof(longer)); /* was copied */
	CHECK_EQ(green_get_name(t, name, sizeof(name)), 0);
	CHECK_EQ(strlen(name), 31);
	CHECK_EQ(green_set_name(t, longest), 0);
	CHECK_EQ(green_get_name(t, name, sizeof(name)), 0);
	CHECK_STR(name, longest);
	CHECK_EQ(green_get_name(t, tiny, sizeof(tiny)), 0);
	CHECK_STR(tiny, "012");
	CHECK_EQ(green_get_name(GREEN_NONE, name, sizeof(name)), 0);
	CHECK_STR(name, "main");
	CHECK_EQ(green_set_name(GREEN_NONE, "boss"), 0);
	CHECK_EQ(green_get_name(green_self(), name, sizeof(name)), 0);
	CHECK_STR(name, "boss");
	CHECK_EQ(green_set_name(t, ""), 0);
	CHECK_EQ(green_get_name(t, name, sizeof(name)), 0);
	CHECK_GT(strlen(name), 0); /* the symbol, or the address */
	atomic_store(go, true);
	join_green(t);
	free((void *)go);
}

/* Named by others while they begin, work with deadlines, and end. */
static void *named(void *arg)
{
	struct green_deadline scope;

	green_deadline_begin(&scope, GREEN_S(1000));
	CHECK_EQ(green_sleep(1000), 0);
	CHECK_EQ(green_yield(), 0);
	CHECK(!green_deadline_end(&scope));
	return arg;
}

GREEN_TEST(named_by_others)
{
	char name[64];

	for (unsigned i = 0; i < scaled(500); i++) {
		green_t threads[4];
		for (int k = 0; k < 4; k++)
			threads[k] = start_migratable(named, NULL);
		for (int k = 0; k < 4; k++) {
			int r = green_set_name(threads[k], "somebody");
			CHECK(r == 0 || r == -ESRCH);
			r = green_get_name(threads[k], name, sizeof(name));
			CHECK(r == 0 || r == -ESRCH);
			CHECK_STR(name, "somebody");
		}
		for (int k = 0; k < 4; k++)
			join_green(threads[k]);
	}
}

TEST(outside)
{
	char name[32];

	CHECK_EQ(green_self(), GREEN_NONE);
	CHECK_EQ(green_worker(), -1);
	CHECK_EQ(green_yield(), 0);
	CHECK_EQ(green_sleep(1000), 0);
	CHECK_EQ(green_sleep(-5), 0);
	CHECK_EQ(green_set_name(GREEN_NONE, "x"), -ESRCH);
	CHECK_EQ(green_get_name(GREEN_NONE, name, sizeof(name)), -ESRCH);
	CHECK(!green_cancelled());
	CHECK(green_serial_new() == NULL);
	green_serial_free(NULL);
	CHECK_GT(green_now(), 0);
}

/* ---- from OS threads -------------------------------------------------------------- */

static void *spawn_from_outside(void *arg)
{
	uintptr_t sum = 0;

	for (uintptr_t i = 0; i < 500; i++) {
		green_t t;
		REQUIRE_EQ(green_spawn(&t, NULL, identity, (void *)i), 0);
		sum += (uintptr_t)join_green(t);
	}
	CHECK_EQ(sum, 500 * 499 / 2);
	CHECK_EQ(green_join(green_self(), NULL), -ESRCH);
	return arg;
}

GREEN_TEST(spawn_and_join_from_os_threads)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = start_os(spawn_from_outside, NULL);
	for (int i = 0; i < 4; i++) {
		/* Not pthread_join: workers have other things to do. */
		while (pthread_tryjoin_np(threads[i], NULL) == EBUSY)
			green_sleep(GREEN_MS(1));
	}
}

static void *deadline_outside(void *arg)
{
	struct join_job *job = arg;
	struct green_deadline scope;

	green_deadline_begin(&scope, GREEN_MS(5));
	job->result = green_join(job->thread, &job->value);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(job->result, -ETIMEDOUT);
	job->result = green_join(job->thread, &job->value);
	return NULL;
}

GREEN_TEST(os_thread_joins_with_a_deadline)
{
	_Atomic bool *go = calloc(1, sizeof(*go));
	struct join_job *job = calloc(1, sizeof(*job));

	job->thread = start_green(wait_for_flag, (void *)go);
	pthread_t os = start_os(deadline_outside, job);
	green_sleep(GREEN_MS(30));
	atomic_store(go, true);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	CHECK_EQ(job->result, 0);
	CHECK(job->value == go);
	free(job);
	free((void *)go);
}

/* ---- many ---------------------------------------------------------------------------- */

static void *tree(void *arg)
{
	uintptr_t depth = (uintptr_t)arg;
	green_t children[4];
	uintptr_t sum = 1;

	if (depth == 0)
		return (void *)sum;
	for (int i = 0; i < 4; i++)
		children[i] = start_green(tree, (void *)(depth - 1));
	for (int i = 0; i < 4; i++)
		sum += (uintptr_t)join_green(children[i]);
	return (void *)sum;
}

GREEN_TEST(tree_of_threads)
{
	/* 1 + 4 + 16 + … + 4^5, eight times over. */
	for (int i = 0; i < 8; i++)
		CHECK_EQ((uintptr_t)tree((void *)5), 1365);
	struct green_info info;
	/* A joined thread's worker counts it a moment later. */
	WAIT_FOR(green_info(&info) == 0 && info.threads == 1);
}

static void *fill(void *arg)
{
	green_t kept[8];
	int r, n = 0;

	(void)arg;
	_Atomic bool *go = calloc(1, sizeof(*go));
	while ((r = green_spawn(&kept[n], NULL, wait_for_flag, (void *)go)) == 0 && n < 7)
		n++;
	CHECK_EQ(r, -EAGAIN);
	CHECK_EQ(n, 4); /* and this one */
	CHECK_EQ(green_go(identity, NULL), -EAGAIN);
	struct green_serial *serial = green_serial_new();
	struct green_attr attr = { .serial = serial, .name = "x", .stack_size = 200000 };
	CHECK_EQ(green_spawn(&kept[7], &attr, identity, NULL), -EAGAIN);
	green_serial_free(serial);
	atomic_store(go, true);
	while (n > 0)
		join_green(kept[--n]);
	/* One that was joined counts no longer. */
	for (unsigned i = 0; i < 4 * scaled(1000); i++) {
		if (n == 4)
			while (n > 0)
				join_green(kept[--n]);
		REQUIRE_EQ(green_spawn(&kept[n++], NULL, identity, NULL), 0);
	}
	while (n > 0)
		join_green(kept[--n]);
	free((void *)go);
	return NULL;
}

TEST(threads_max)
{
	struct green_options options = { .threads_max = 5 };

	CHECK_EQ(run_green_with(&options, fill, NULL, NULL), 0);
}

static void *spawn_many(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;
	green_t *threads = calloc(n, sizeof(*threads));
	unsigned started = 0;

	while (started < n && green_spawn(&threads[started], NULL, identity, NULL) == 0)
		started++;
	CHECK_EQ(started, n);
	for (unsigned i = 0; i < started; i++)
		join_green(threads[i]);
	free(threads);
	return NULL;
}

/* A small runtime first must not bound a large one later. */
TEST(threads_max_grows)
{
	struct green_options few = { .threads_max = 5 }, many = { .threads_max = 100000 };

	CHECK_EQ(run_green_with(&few, fill, NULL, NULL), 0);
	CHECK_EQ(run_green_with(&many, spawn_many, (void *)(uintptr_t)scaled(90000), NULL), 0);
}
