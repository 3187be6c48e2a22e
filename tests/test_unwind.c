/* SPDX-License-Identifier: MIT
 *
 * Debuggers and profilers find their way: gdb's backtrace in a green thread
 * reaches its function, also at every single instruction of a switch, and a
 * profiler's signals with backtrace() in a storm of switches do no harm.
 */
#include "harness.h"

#include "arch/switch.h"
#include "stack.h"
#include "worker.h"

#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

extern char switch_boot[];
#define BOOT_BYTES 64

/* ---- gdb ---------------------------------------------------------------------------- */

/* Where gdb stops. */
__attribute__((noinline)) void unwind_stop(void);
void unwind_stop(void)
{
	__asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void unwind_deeper(int depth)
{
	if (depth > 0)
		unwind_deeper(depth - 1);
	else
		unwind_stop();
	__asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void *unwind_green(void *arg)
{
	for (int i = 0; i < 5; i++) {
		unwind_deeper(3);
		green_yield();
	}
	return arg;
}

static volatile bool preempt_me;

static void on_preempt(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig, (void)info;
	if (preempt_me)
		switch_interrupt(ucontext);
}

/* Stands for what a scheduler does with an interrupted thread. */
static __attribute__((noinline)) void unwind_preempted(void)
{
	preempt_me = false;
	unwind_deeper(0);
}

static __attribute__((noinline)) void *unwind_interrupted(void *arg)
{
	struct sigaction action = { .sa_sigaction = on_preempt, .sa_flags = SA_SIGINFO };

	switch_area_size();
	switch_preempted = unwind_preempted;
	sigaction(SIGUSR1, &action, NULL);
	preempt_me = true;
	raise(SIGUSR1);
	while (preempt_me)
		;
	return arg;
}

static void *unwind_main(void *arg)
{
	green_t threads[2];

	for (int i = 0; i < 2; i++)
		threads[i] = start_green(unwind_green, NULL);
	for (int i = 0; i < 2; i++)
		join_green(threads[i]);
	join_green(start_green(unwind_interrupted, NULL));
	return arg;
}

static void *full_here, *full_there, *full_areas[2];

static void unwind_full(void *arg)
{
	switch_full(&full_there, full_here, full_areas[1]);
	(void)arg;
	abort();
}

/* Run under gdb only; by itself it is a test that all of this runs. */
TEST(debuggee)
{
	struct green_options one = { .workers = 1 };

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer delivers signals when it likes, and knows no other contexts");
#endif
	char *stack = aligned_alloc(64, 65536);
	for (int i = 0; i < 2; i++)
		full_areas[i] = aligned_alloc(64, switch_area_size());
	REQUIRE(stack && full_areas[0] && full_areas[1]);
	full_there = switch_prepare(stack + 65536, unwind_full, NULL);
	switch_full(&full_here, full_there, full_areas[0]);
	free(stack);
	free(full_areas[0]);
	free(full_areas[1]);
	CHECK_EQ(run_green_with(&one, unwind_main, NULL, NULL), 0);
}

/* Output of gdb with a script (below tests/) on the test above. */
static char *gdb_output(const char *script)
{
	const size_t size = 4 << 20;
	char *text = malloc(size), exe[512], path[600];
	int fds[2];
	size_t n = 0;
	ssize_t r;

	if (access("/usr/bin/gdb", X_OK) < 0)
		SKIP("gdb is not installed");
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer does not run under a debugger");
#endif
	r = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	REQUIRE(r > 0 && text);
	exe[r] = 0;
	snprintf(path, sizeof(path), "tests/%s", script);
	if (access(path, R_OK) < 0)
		SKIP("runs from the top of the source tree only: %s", path);
	REQUIRE_EQ(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execlp("gdb", "gdb", "-nx", "-batch", "-x", path, "--args", exe, "--here",
		       "debuggee", NULL);
		_exit(127);
	}
	close(fds[1]);
	while (n < size - 1 && (r = read(fds[0], text + n, size - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fds[0]);
	REQUIRE_EQ(waitpid(pid, NULL, 0), pid);
	if (strstr(text, "Could not trace") || strstr(text, "Operation not permitted") ||
	    strstr(text, "not supported") || strstr(text, "Python scripting is"))
		SKIP("gdb cannot debug here: %.200s", text);
	return text;
}

TEST(gdb_backtrace_reaches_the_function)
{
	test_limit(120);
	char *text = gdb_output("unwind_backtrace.gdb");
	CHECK_HAS(text, "unwind_stop");
	CHECK_HAS(text, "unwind_deeper");
	CHECK_HAS(text, "unwind_green");
	CHECK_HAS(text, "spawn_boot");
	CHECK(!strstr(text, "corrupt"));
	CHECK(!strstr(text, "Cannot access"));
	free(text);
}

TEST(gdb_at_every_instruction_of_a_switch)
{
	test_limit(120);
	char *text = gdb_output("unwind_steps.py");
	CHECK_HAS(text, "switch_stacks: ");
	CHECK_HAS(text, "switch_boot: ");
	CHECK_HAS(text, "switch_full: ");
	CHECK_HAS(text, "switch_landing: ");
	CHECK_HAS(text, "all steps unwound");
	if (checks_failed())
		printf("%s\n", text);
	free(text);
}

/* ---- a profiler ------------------------------------------------------------------------ */

static struct {
	_Atomic bool stop;
	_Atomic unsigned samples, green_samples, lost;
} profile;

static void on_prof(int sig)
{
	void *frames[128];
	int n = backtrace(frames, 128);
	stack_id stack;

	(void)sig;
	atomic_fetch_add(&profile.samples, 1);
	if (stack_find(frames, &stack) != STACK_PART_FRAMES)
		return;
	atomic_fetch_add(&profile.green_samples, 1);
	char *last = n > 0 ? frames[n - 1] : NULL;
	if (last < switch_boot || last >= switch_boot + BOOT_BYTES)
		atomic_fetch_add(&profile.lost, 1);
}

static void *yield_and_spawn(void *arg)
{
	struct green_attr attr = { .migratable = arg != NULL };

	while (!atomic_load(&profile.stop)) {
		for (int i = 0; i < 20; i++)
			green_yield();
		green_t t = start_with(&attr, sleep_for, (void *)1000);
		join_green(t);
	}
	return NULL;
}

/* Ten thousand times a second, to one worker after the other. */
static void *send_signals(void *arg)
{
	while (!atomic_load(&profile.stop)) {
		for (unsigned i = 0; i < rt.workers_count; i++)
			pthread_kill(worker_at(i)->thread, SIGPROF);
		usleep(100);
	}
	return arg;
}

static void *storm(void *arg)
{
	green_t threads[16];

	for (intptr_t i = 0; i < 16; i++)
		threads[i] = start_green(yield_and_spawn, (void *)(i % 2));
	pthread_t os = start_os(send_signals, NULL);
	WAIT_FOR(atomic_load(&profile.green_samples) >= 2000);
	atomic_store(&profile.stop, true);
	for (int i = 0; i < 16; i++)
		join_green(threads[i]);
	join_os(os);
	return arg;
}

static void profile_storm(int flags)
{
	struct green_options two = { .workers = 2, .stack_size = 256 * 1024 };
	struct sigaction action = { .sa_handler = on_prof, .sa_flags = SA_RESTART | flags };
	void *first[4];

	backtrace(first, 4); /* loads the unwinder */
	memset(&profile, 0, sizeof(profile));
	REQUIRE_EQ(sigaction(SIGPROF, &action, NULL), 0);
	CHECK_EQ(run_green_with(&two, storm, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&profile.lost), 0);
}

static void skip_profiles(void)
{
#if defined(GREEN_TSAN)
	SKIP("the thread sanitizer delivers signals when it likes");
#endif
}

TEST(profiler_on_green_stacks)
{
	skip_profiles();
	profile_storm(0);
}

/* On the worker's own signal stack nothing of the green stack is used. */
static void on_prof_elsewhere(int sig)
{
	void *frames[128];

	(void)sig;
	if (backtrace(frames, 128) > 0)
		atomic_fetch_add(&profile.green_samples, 1);
}

TEST(profiler_on_a_signal_stack)
{
	struct green_options two = { .workers = 2 };
	struct sigaction action = { .sa_handler = on_prof_elsewhere,
		                    .sa_flags = SA_RESTART | SA_ONSTACK };
	void *first[4];

	skip_profiles();
	backtrace(first, 4);
	REQUIRE_EQ(sigaction(SIGPROF, &action, NULL), 0);
	CHECK_EQ(run_green_with(&two, storm, NULL, NULL), 0);
}
