/* SPDX-License-Identifier: MIT
 *
 * Rewriting libc: what lies at each site and in each trampoline afterwards, that calls do
 * what they did, that no memory is writable and executable, and that a system which
 * forbids it is left alone.
 */
#include "harness.h"

#include "intercept/decode.h"
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "intercept/interceptors.h"
#include "intercept/patch.h"
#include "intercept/site.h"
#include "options.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

static struct site sites[4096];
static unsigned count, left;
static struct image image;
static uint8_t *before; /* libc's text as it was */

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (!strstr(info->dlpi_name, "/libc.so.6"))
		return 0;
	REQUIRE(image_open(&image, info));
	return 1;
}

static void remember_libc(void)
{
	REQUIRE(dl_iterate_phdr(find_libc, NULL));
	size_t size = image.text_end - image.text;
	void *scratch = calloc(1, site_scratch_size(&image));
	before = malloc(size);
	REQUIRE(scratch && before);
	memcpy(before, (const void *)image.text, size);
	count = sites_find(&image, scratch, sites, 4096, &left);
	free(scratch);
	REQUIRE(count);
}

static const uint8_t *was(uintptr_t address)
{
	return before + (address - image.text);
}

static void patch(void)
{
	const char *why = "?";

	REQUIRE_EQ(patch_start(false, &why), 0);
}

static uintptr_t jump_at(uintptr_t at)
{
	const uint8_t *code = (const uint8_t *)at;
	struct insn insn;

	insn_decode(code, INSN_MAX, &insn);
	return insn.flow == FLOW_JUMP ? insn_target(code, &insn, at) : 0;
}

/* The copy of an instruction, which may find its data from another place. */
static void check_copy(const uint8_t *old, uintptr_t old_at, uintptr_t new_at)
{
	const uint8_t *copy = (const uint8_t *)new_at;
	struct insn insn;
	int32_t a, b;

	insn_decode(old, INSN_MAX, &insn);
	for (unsigned i = 0; i < insn.length; i++)
		if (!insn.rip_relative || i < insn.disp_at || i >= insn.disp_at + 4u)
			CHECK_EQ(copy[i], old[i]);
	if (insn.rip_relative) {
		memcpy(&a, old + insn.disp_at, 4);
		memcpy(&b, copy + insn.disp_at, 4);
		CHECK_EQ(old_at + (uintptr_t)(intptr_t)a, new_at + (uintptr_t)(intptr_t)b);
	}
}

static void check_trampoline(const struct site *s, uintptr_t at)
{
	uintptr_t to = (uintptr_t)(s->stub_nr == SYS_sched_yield ? intercept_yield_entry
	                                                         : intercept_entry);
	struct insn insn;
	int32_t offset;

	CHECK(patch_contains(at));
	for (uintptr_t old = s->window; old < s->at; old += insn.length, at += insn.length) {
		insn_decode(was(old), INSN_MAX, &insn);
		check_copy(was(old), old, at);
	}
	/* lea behind the site(%rip), %rcx; jmp to the entry */
	CHECK(memcmp((const void *)at, "\x48\x8d\x0d", 3) == 0);
	memcpy(&offset, (const void *)(at + 3), 4);
	CHECK_EQ(at + 7 + (uintptr_t)(intptr_t)offset, s->at + 2);
	at += 7;
	if (*(const uint8_t *)at == 0xe9) {
		CHECK_EQ(jump_at(at), to);
	} else {
		uintptr_t entry;
		CHECK(memcmp((const void *)at, "\xff\x25\0\0\0\0", 6) == 0);
		memcpy(&entry, (const void *)(at + 6), 8);
		CHECK_EQ(entry, to);
	}
}

TEST(every_site_has_its_trampoline)
{
	unsigned changed = 0, expected = 0, yields = 0;

	remember_libc();
	patch();
	CHECK_GE(patch_sites(), count);
	CHECK_EQ(patch_left(), left);
	for (unsigned i = 0; i < count; i++) {
		uintptr_t to = jump_at(sites[i].window);

		if (sites[i].pad) {
			CHECK_EQ(to, sites[i].pad);
			to = jump_at(sites[i].pad);
		}
		REQUIRE(patch_contains(to));
		check_trampoline(&sites[i], to);
		yields += sites[i].stub_nr == SYS_sched_yield;
		expected += sites[i].pad ? 7 : 5;
	}
	CHECK_EQ(yields, 2); /* sched_yield() and thrd_yield() */
	/* And nothing else has changed. */
	for (uintptr_t at = image.text; at < image.text_end; at++)
		changed += *(const uint8_t *)at != *was(at);
	CHECK_GT(changed, expected / 2);
	CHECK_LE(changed, expected);
	CHECK(!patch_contains(image.text));
}

TEST(nothing_is_writable_and_executable)
{
	char line[512];

	patch();
	FILE *maps = fopen("/proc/self/maps", "r");
	REQUIRE(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, " rwx"))
			FAIL("writable and executable: %s", line);
	fclose(maps);
}

/* ---- calls go on ------------------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static void *in_thread(void *arg)
{
	return (void *)(uintptr_t)(syscall(SYS_gettid) != getpid() && arg == &signals);
}

static void files_and_memory(void)
{
	char path[] = "/tmp/green-patch-XXXXXX", text[8] = "";
	int fd = mkstemp(path);

	REQUIRE_GE(fd, 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(pwrite(fd, "abcdef", 6, 0), 6);
	CHECK_EQ(pread(fd, text, sizeof(text), 2), 4);
	CHECK_STR(text, "cdef");
	/* Six arguments. */
	char *memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	REQUIRE(memory != MAP_FAILED);
	CHECK(memcmp(memory, "abcdef", 6) == 0);
	CHECK_EQ(munmap(memory, 4096), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(fd), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_EQ(syscall(SYS_getpid), getpid());
}

static void processes(void)
{
	char *const argv[] = { (char *)(uintptr_t) "true", NULL };
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(getpid() > 0 ? 3 : 4);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(WEXITSTATUS(status), 3);
	pid = vfork();
	if (pid == 0) {
		execvp("true", argv);
		_exit(1);
	}
	REQUIRE(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(system("exit 5"), 5 << 8);
}

static void threads_and_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	CHECK_EQ((uintptr_t)join_os(start_os(in_thread, (void *)&signals)), 1);
	sigaction(SIGUSR1, &action, NULL);
	signals = 0;
	CHECK_EQ(raise(SIGUSR1), 0);
	kill(getpid(), SIGUSR1);
	CHECK_EQ(signals, 2);
	signal(SIGUSR1, SIG_DFL);
}

static void calls_work(void)
{
	files_and_memory();
	processes();
	threads_and_signals();
}

TEST(calls_do_what_they_did)
{
	patch();
	calls_work();
}

/* ---- what is not allowed -------------------------------------------------------------- */

/* From now on the call fails with EPERM, if its argument number `which` is value, or has
 * one of value's bits. */
static void forbid(long nr, unsigned which, uint32_t value, bool bits)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[which])),
		BPF_JUMP(BPF_JMP | (bits ? BPF_JSET : BPF_JEQ) | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	REQUIRE_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		SKIP("no seccomp filters here: %s", strerror(errno));
}

static void forbid_making_executable(void)
{
	forbid(SYS_mprotect, 2, PROT_EXEC, true);
}

static void forbid_dispatch(void)
{
	forbid(SYS_prctl, 0, 59 /* PR_SET_SYSCALL_USER_DISPATCH */, false);
}

TEST(nothing_is_changed_where_it_is_forbidden)
{
	const char *why = NULL;

	remember_libc();
	forbid_making_executable();
	CHECK_EQ(patch_start(false, &why), -EPERM);
	REQUIRE(why);
	CHECK_HAS(why, "SELinux");
	CHECK_EQ(patch_sites(), 0);
	CHECK(memcmp((const void *)image.text, before, image.text_end - image.text) == 0);
	calls_work();
}

TEST(auto_dispatches_where_code_cannot_be_changed)
{
	char text[400];

	forbid_making_executable();
	CHECK_EQ(interceptors_start(INTERCEPT_AUTO, false), 0);
	interceptors_describe(text, sizeof(text));
	CHECK_HAS(text, "none rewritten");
	CHECK_HAS(text, "SELinux");
	CHECK_HAS(text, "dispatch on");
	REQUIRE_EQ(interceptors_arm(NULL), 0);
	calls_work();
	CHECK_GT(dispatch_count(), 20);
}

TEST(auto_rewrites_everything_where_it_cannot_dispatch)
{
	char text[400];

	forbid_dispatch();
	CHECK_EQ(interceptors_start(INTERCEPT_AUTO, false), 0);
	interceptors_describe(text, sizeof(text));
	CHECK_HAS(text, "system calls rewritten");
	CHECK_HAS(text, "dispatch off: syscall user dispatch is not permitted");
	CHECK_EQ(interceptors_arm(NULL), 0);
	calls_work();
	CHECK_EQ(dispatch_count(), 0);
}

TEST(what_was_asked_for_or_nothing)
{
	forbid_dispatch();
	CHECK_EQ(interceptors_start(INTERCEPT_BOTH, false), -EPERM);
	CHECK_HAS(green_error(), "GREEN_INTERCEPT=both");
	CHECK_EQ(interceptors_start(INTERCEPT_DISPATCH, false), -EPERM);
	CHECK_HAS(green_error(), "GREEN_INTERCEPT=dispatch");
	CHECK_EQ(patch_sites(), 0);
	forbid_making_executable();
	CHECK_EQ(interceptors_start(INTERCEPT_PATCH, false), -EPERM);
	CHECK_HAS(green_error(), "GREEN_INTERCEPT=patch");
	CHECK_EQ(interceptors_start(INTERCEPT_AUTO, false), -EPERM);
	CHECK_HAS(green_error(), "GREEN_INTERCEPT=auto");
	CHECK_EQ(interceptors_start(INTERCEPT_OFF, false), 0);
	calls_work();
}

TEST(memory_deny_write_execute)
{
	const char *why = NULL;

	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0)
		SKIP("this kernel has no PR_SET_MDWE");
	CHECK_EQ(patch_start(false, &why), -EACCES);
	CHECK(why);
	calls_work();
}

TEST(both_at_once)
{
	uint64_t dispatched;

	REQUIRE_EQ(interceptors_start(INTERCEPT_AUTO, false), 0);
	if (!dispatch_started || !patch_sites())
		SKIP("not both are to be had here");
	REQUIRE_EQ(interceptors_arm(NULL), 0);
	dispatched = dispatch_count();
	for (unsigned i = 0; i < 100; i++)
		getppid();
	/* libc's own calls are rewritten: they do not arrive there. */
	CHECK_EQ(dispatch_count(), dispatched);
	calls_work();
}
