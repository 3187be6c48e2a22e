/* SPDX-License-Identifier: MIT
 *
 * Hostile surroundings of userfaultfd: it is denied, its descriptor closed, its
 * threads are ended.  Each is noticed and said, and what lies on hibernated
 * stacks is there, or the process ends within a second.
 */
#include "harness.h"

#include "arch/sys.h"
#include "green_sync.h"
#include "keeper.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define COUNT 100
#define USER_MODE "-userfaultfd_kernel"

static struct parked {
	green_sem_t sem;
	_Atomic uint64_t *_Atomic word; /* on its stack */
	green_t thread;
} parked[COUNT];

static void *hold(void *arg)
{
	struct parked *self = arg;
	_Atomic uint64_t word = (uint64_t)(self - parked);

	atomic_store(&self->word, &word);
	CHECK_EQ(green_sem_wait(&self->sem), 0);
	return (void *)(uintptr_t)atomic_load(&word);
}

static bool can_hibernate(void)
{
	struct green_info info;

	REQUIRE_EQ(green_info(&info), 0);
	return strstr(info.features, "+uffd_wp");
}

static void all_asleep(void)
{
	struct green_info info;

	do {
		green_sleep(GREEN_MS(2));
		REQUIRE_EQ(green_info(&info), 0);
	} while (can_hibernate() && info.stacks_hibernated < COUNT);
}

static void start_all(void)
{
	for (unsigned i = 0; i < COUNT; i++) {
		parked[i].sem = (green_sem_t)GREEN_SEM_INIT(0);
		parked[i].thread = start_green(hold, &parked[i]);
	}
	for (unsigned i = 0; i < COUNT; i++)
		while (!atomic_load(&parked[i].word))
			green_sleep(GREEN_MS(1));
	all_asleep();
}

static void *add_to_all(void *unused)
{
	for (unsigned i = 0; i < COUNT; i++)
		atomic_fetch_add(parked[i].word, 1000);
	return unused;
}

/* Every word is its index and what add_to_all() has done to it. */
static void end_all(unsigned additions)
{
	for (unsigned i = 0; i < COUNT; i++) {
		green_sem_post(&parked[i].sem);
		CHECK_EQ((uintptr_t)join_green(parked[i].thread), i + 1000 * additions);
	}
}

static void *live(void *unused)
{
	start_all();
	join_os(start_os(add_to_all, NULL));
	end_all(1);
	return unused;
}

/* A life in this process on the rung that there is. */
static void check_rung(const char *rung, const char *reason)
{
	struct green_options options = { .hibernate_after_ns = GREEN_MS(1) };
	struct green_info info;

	REQUIRE_EQ(green_init(&options), 0);
	REQUIRE_EQ(green_info(&info), 0);
	CHECK_STR(info.stacks, rung);
	CHECK_HAS(info.stacks_reason, reason);
	CHECK_EQ(green_run(live, NULL, NULL), 0);
	CHECK_EQ(green_fini(), 0);
}

static bool has_rung(const char *features, const char *rung)
{
	struct green_options options = { .features = features, .hibernate_after_ns = GREEN_MS(1) };
	struct green_info info;

	REQUIRE_EQ(green_init(&options), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	return !strcmp(info.stacks, rung);
}

/* ---- denied --------------------------------------------------------------------- */

/* EPERM for userfaultfd(2), and for the device unless that is left. */
static void deny(bool device)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, device ? SYS_ioctl : ~0u, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, _IO(0xAA, 0), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	REQUIRE_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		SKIP("no seccomp");
}

TEST(all_of_it_denied_by_seccomp)
{
	if (getenv("GREEN_FEATURES"))
		SKIP("GREEN_FEATURES decides already");
	if (!has_rung("-userfaultfd", "guard-install"))
		SKIP("another rung");
	if (has_rung("", "guard-install"))
		SKIP("no userfaultfd to be denied");
	deny(true);
	check_rung("guard-install", "Operation not permitted");
}

TEST(the_call_denied_by_seccomp)
{
	if (!has_rung("", "userfaultfd-kernel"))
		SKIP("no userfaultfd for kernel faults");
	if (access("/dev/userfaultfd", R_OK | W_OK) < 0)
		SKIP("no /dev/userfaultfd");
	deny(false);
	check_rung("userfaultfd-kernel", "");
}

TEST(user_mode_is_left_to_nobody)
{
	if (getenv("GREEN_FEATURES"))
		SKIP("GREEN_FEATURES decides already");
	if (!has_rung(USER_MODE, "userfaultfd"))
		SKIP("no userfaultfd");
	if (getuid() == 0) {
		REQUIRE_EQ(setgroups(0, NULL), 0);
		REQUIRE_EQ(setresgid(65534, 65534, 65534), 0);
		REQUIRE_EQ(setresuid(65534, 65534, 65534), 0);
	}
	if (has_rung("", "userfaultfd-kernel"))
		SKIP("vm.unprivileged_userfaultfd is set");
	check_rung("userfaultfd", "Operation not permitted");
}

/* ---- ended, closed ---------------------------------------------------------------- */

/* The OS thread of this name ends at its next system call of that number. */
static const char *victim;
static long victim_nr;
static _Atomic bool armed, ended;

static long deadly_call(long nr, long a, long b, long c, long d, long e, long f)
{
	char name[16] = "";

	if (nr == victim_nr && atomic_load(&armed) && prctl(PR_GET_NAME, name) == 0 &&
	    !strcmp(name, victim) && atomic_exchange(&armed, false)) {
		atomic_store(&ended, true);
		syscall(SYS_exit, 0);
	}
	return sys_raw(nr, a, b, c, d, e, f);
}

static void choose_victim(const char *name, long nr)
{
	victim = name;
	victim_nr = nr;
	sys.call = deadly_call;
}

static void *handler_ends(void *unused)
{
	start_all();
	if (!can_hibernate())
		SKIP("no write protection");
	for (unsigned round = 1; round <= 3; round++) {
		atomic_store(&ended, false);
		atomic_store(&armed, true);
		/* The handler's last deed; not an addition of 0, which compilers remove. */
		(void)*(volatile uint64_t *)parked[0].word;
		WAIT_FOR(atomic_load(&ended));
		join_os(start_os(add_to_all, NULL));
		all_asleep();
	}
	end_all(3);
	return unused;
}

TEST(a_handler_that_was_ended_is_replaced)
{
	struct green_options options = { .hibernate_after_ns = GREEN_MS(1) };

#if defined(GREEN_TSAN) || defined(GREEN_ASAN)
	SKIP("the sanitizer's threads cannot end in a system call");
#endif
	if (!has_rung("", "userfaultfd-kernel"))
		SKIP("no userfaultfd for kernel faults");
	choose_victim("green-faults", SYS_poll);
	capture_begin();
	CHECK_EQ(run_green_with(&options, handler_ends, NULL, NULL), 0);
	CHECK_HAS(capture_end(), "green-faults, which brings back stacks");
}

/* How the process of fn ends: it must within a second of what fn does last. */
static int end_of(const char *features, green_fn fn)
{
	struct green_options options = { .features = features, .hibernate_after_ns = GREEN_MS(1) };
	int status = -1;

	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		_exit(run_green_with(&options, fn, NULL, NULL) || checks_failed());
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static void *keeper_ends(void *unused)
{
	struct uffdio_range nothing = { 0, 0 };

	start_all();
	atomic_store(&armed, true);
	keeper_ask(UFFDIO_WAKE, &nothing);
	green_sleep(GREEN_S(1));
	return unused;
}

TEST(a_keeper_that_was_ended_ends_the_process)
{
#if defined(GREEN_TSAN) || defined(GREEN_ASAN)
	SKIP("the sanitizer's threads cannot end in a system call");
#endif
	if (!has_rung(USER_MODE, "userfaultfd"))
		SKIP("no userfaultfd");
	choose_victim("green-keeper", SYS_futex);
	for (int i = 0; i < 2; i++) {
		capture_begin();
		int status = end_of(i ? "" : USER_MODE, keeper_ends);
		CHECK_HAS(capture_end(), "has been ended by somebody");
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

static void *closes_all(void *unused)
{
	start_all();
	closefrom(3);
	join_os(start_os(add_to_all, NULL));
	all_asleep();
	join_os(start_os(add_to_all, NULL));
	end_all(2);
	return unused;
}

/* An engine that has descriptors does not survive it, and says so. */
TEST(closing_everything_loses_nothing)
{
	if (!has_rung(USER_MODE, "userfaultfd"))
		SKIP("no userfaultfd");
	for (int i = 0; i < 2; i++) {
		capture_begin();
		int status = end_of(i ? "" : USER_MODE, closes_all);
		const char *said = capture_end();
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
			CHECK_HAS(said, "the program closed a descriptor");
		else
			CHECK_EQ(status, 0);
	}
}
