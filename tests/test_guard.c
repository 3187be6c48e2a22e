/* SPDX-License-Identifier: MIT
 *
 * Guards hold on every rung of the ladder, survive reuse, and their lack is an
 * error or counted.
 */
#include "harness.h"

#include "stacks_fixture.h"

#include <signal.h>
#include <sys/wait.h>

/* Does a write there kill? */
static bool is_deadly(char *address)
{
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		*(volatile char *)address = 1;
		_exit(0);
	}
	int status;
	CHECK_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void check_guards(struct stacks_config config, enum stack_rung rung)
{
	struct stack_cache *cache = new_cache();
	stack_id stacks[40];

	config.slots_max = 1000;
	config.caches_max = 1;
	config.guard_size = 8192;
	init(config);
	CHECK_EQ(stacks_rung(), rung);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 40; i++)
			stacks[i] = acquire(cache, i % 4 ? 0 : 1);
		for (int i = 0; i < 40; i += 13) {
			char *bottom = stack_bottom(stacks[i]);
			CHECK(is_deadly(bottom - 1));
			CHECK(is_deadly(bottom - 8192));
			CHECK(!is_deadly(bottom));
			CHECK(!is_deadly((char *)stack_top(stacks[i]) - 1));
		}
		for (int i = 0; i < 40; i++)
			release(cache, stacks[i]);
		/* In the second round the guards are those left behind. */
		stack_cache_flush(cache);
	}
	CHECK_EQ(stacks_unguarded(), 0);
	finish(cache);
}

TEST(installed_guards_are_deadly)
{
	if (!kernel_installs_guards()) {
		SKIP("no MADV_GUARD_INSTALL");
	}
	check_guards((struct stacks_config){ .no_userfaultfd = true }, STACK_RUNG_GUARD_INSTALL);
}

TEST(protected_guards_are_deadly)
{
	if (checker_is_valgrind()) {
		SKIP("valgrind has its own");
	}
	check_guards((struct stacks_config){ .no_userfaultfd = true, .no_guard_install = true },
	             STACK_RUNG_MPROTECT);
}

TEST(without_guards_the_missing_are_counted)
{
	struct stack_cache *cache = new_cache();

	init((struct stacks_config){ .slots_max = 64,
	                             .caches_max = 1,
	                             .no_userfaultfd = true,
	                             .no_guard_install = true,
	                             .no_mprotect = true });
	CHECK_EQ(stacks_rung(), STACK_RUNG_NONE);
	CHECK_STR(stacks_rung_name(), "none");
	release(cache, acquire(cache, 0));
	size_t missing = stacks_unguarded();
	CHECK(missing > 0);
	release(cache, acquire(cache, 0));
	CHECK_EQ(stacks_unguarded(), missing);
	finish(cache);
}

TEST(guards_by_mprotect_leave_mappings_to_the_program)
{
	enum { COUNT = 31000 };
	if (checker_is_valgrind()) {
		SKIP("valgrind");
	}
	struct stack_cache *cache = new_cache();
	stack_id *stacks = calloc(COUNT, sizeof(*stacks));

	init((struct stacks_config){
		.caches_max = 1, .no_userfaultfd = true, .no_guard_install = true });
	for (int i = 0; i < COUNT; i++)
		stacks[i] = acquire(cache, 0);
	CHECK_GE(stacks_unguarded(), COUNT - 30000);
	CHECK_LE(stacks_unguarded(), COUNT - 29000);
	CHECK(is_deadly((char *)stack_bottom(stacks[0]) - 1));
	CHECK(!is_deadly((char *)stack_bottom(stacks[COUNT - 1]) - 1));
	for (int i = 0; i < COUNT; i++)
		release(cache, stacks[i]);
	free(stacks);
	finish(cache);
}

TEST(no_memory_for_a_guard_is_an_error)
{
	if (!kernel_installs_guards()) {
		SKIP("no MADV_GUARD_INSTALL");
	}
	struct stack_cache *cache = new_cache();
	stack_id stack = STACK_NONE;

	init((struct stacks_config){ .slots_max = 1000, .caches_max = 1, .no_userfaultfd = true });
	faults = (typeof(faults)){ SYS_madvise, MADV_GUARD_INSTALL, -ENOMEM, 0, 0, 0 };
	sys.call = faulty_call;
	CHECK_EQ(stack_reserve(0), 0);
	CHECK_EQ(stack_acquire(cache, 0, &stack), -ENOMEM);
	CHECK_EQ(stacks_used(), 0);
	/* Half of a batch: those that have a guard are handed out. */
	faults = (typeof(faults)){ SYS_madvise, MADV_GUARD_INSTALL, -ENOMEM, 3, 0, 0 };
	stack_id low = STACK_NONE;
	for (int i = 0; i < 3; i++) {
		CHECK_GE(stack_acquire(cache, 0, &stack), 0);
		CHECK(stack > low);
		low = stack;
	}
	CHECK_EQ(stack_acquire(cache, 0, &stack), -ENOMEM);
	CHECK_EQ(stacks_used(), 3);
	sys.call = sys_raw;
	CHECK_GE(stack_acquire(cache, 0, &stack), 0);
	CHECK_EQ(stack, low + 1);
	stack_cache_flush(cache);
	free(cache);
	stacks_fini();
}
