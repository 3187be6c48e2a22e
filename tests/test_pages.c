/* SPDX-License-Identifier: MIT
 *
 * Stacks under userfaultfd: guards are deadly in both modes, the kernel writes
 * to what nobody has touched, and the watch outlives the descriptor and a fork.
 */
#include "stacks_fixture.h"

#include <setjmp.h>
#include <sys/wait.h>

static sigjmp_buf escape;
static volatile sig_atomic_t deadly;

static void on_deadly(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGBUS && stack_touched(info->si_addr))
		return;
	deadly = sig;
	siglongjmp(escape, 1);
}

/* A forked child would see plain memory: here it happens in this process. */
static int signal_of(const char *address)
{
	struct sigaction action = { .sa_sigaction = on_deadly, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	deadly = 0;
	if (!sigsetjmp(escape, 1))
		*(volatile char *)address = 1;
	signal(SIGSEGV, SIG_DFL);
	return deadly;
}

static void check_missing(struct stacks_config config, enum stack_rung rung)
{
	struct stack_cache *cache = new_cache();
	stack_id stacks[40];
	char buffer[8] = "written";
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	config.slots_max = 1000;
	config.caches_max = 1;
	config.guard_size = 8192;
	init(config);
	CHECK_EQ(stacks_rung(), rung);
	int sig = rung == STACK_RUNG_USERFAULTFD ? SIGBUS : SIGSEGV;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 40; i++)
			stacks[i] = acquire(cache, i % 4 ? 0 : 1);
		for (int i = 0; i < 40; i += 13) {
			char *bottom = stack_bottom(stacks[i]), *top = stack_top(stacks[i]);
			CHECK_EQ(signal_of(bottom - 1), sig);
			CHECK_EQ(signal_of(bottom - 8192), sig);
			CHECK_EQ(signal_of(bottom), 0);
			CHECK_EQ(signal_of(top - 1), 0);
			/* Never touched before, and the kernel writes there. */
			CHECK_EQ(write(ends[1], buffer, 8), 8);
			CHECK_EQ(read(ends[0], bottom + 12288, 8), 8);
			CHECK_STR(bottom + 12288, "written");
		}
		for (int i = 0; i < 40; i++)
			release(cache, stacks[i]);
		stack_cache_flush(cache);
	}
	CHECK_EQ(stacks_unguarded(), 0);
	finish(cache);
	close(ends[0]);
	close(ends[1]);
}

TEST(missing_guards_are_deadly_in_user_mode)
{
	init((struct stacks_config){ .no_userfaultfd_kernel = true });
	enum stack_rung rung = stacks_rung();
	stacks_fini();
	if (rung != STACK_RUNG_USERFAULTFD) {
		SKIP("no userfaultfd");
	}
	check_missing((struct stacks_config){ .no_userfaultfd_kernel = true }, rung);
}

TEST(missing_guards_are_deadly_in_kernel_mode)
{
	init((struct stacks_config){ 0 });
	enum stack_rung rung = stacks_rung();
	stacks_fini();
	if (rung != STACK_RUNG_USERFAULTFD_KERNEL) {
		SKIP("no userfaultfd for kernel faults");
	}
	check_missing((struct stacks_config){ 0 }, rung);
}

TEST(watching_survives_closing_everything)
{
	struct stack_cache *cache = new_cache();
	stack_id stacks[20];

	init((struct stacks_config){ .caches_max = 1 });
	if (stacks_rung() > STACK_RUNG_USERFAULTFD) {
		stacks_fini();
		SKIP("no userfaultfd");
	}
	stacks[0] = acquire(cache, 0);
	REQUIRE_EQ(syscall(SYS_close_range, 3, ~0u, 0), 0);
	int other = dup(1); /* perhaps on the number that was ours */
	for (int i = 1; i < 20; i++) {
		stacks[i] = acquire(cache, 0);
		CHECK_NE(signal_of((char *)stack_bottom(stacks[i]) - 1), 0);
		CHECK_EQ(signal_of(stack_bottom(stacks[i])), 0);
	}
	for (int i = 0; i < 20; i++)
		release(cache, stacks[i]);
	/* A new start, with nobody to ask, makes a new one. */
	stack_cache_flush(cache);
	stacks_stop();
	CHECK_EQ(stacks_start(), 0);
	stack_id again = acquire(cache, 0);
	CHECK_NE(signal_of((char *)stack_bottom(again) - 1), 0);
	release(cache, again);
	finish(cache);
	close(other);
}

static bool child_touches(stack_id stack)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		stacks_forked(stack);
		if (*(char *)stack_bottom(stack) != 7)
			_exit(1);
		_exit(signal_of((char *)stack_bottom(stack) - 1) ? 0 : 2);
	}
	waitpid(child, &status, 0);
	return status == 0;
}

TEST(a_forked_child_has_guards)
{
	struct stack_cache *cache = new_cache();

	init((struct stacks_config){ .caches_max = 1 });
	if (checker_is_valgrind()) {
		SKIP("valgrind has its own");
	}
	stack_id stack = acquire(cache, 0);
	*(char *)stack_bottom(stack) = 7;
	CHECK(child_touches(stack));
	release(cache, stack);
	finish(cache);
}
