/* SPDX-License-Identifier: MIT
 *
 * Filters of system calls (seccomp(2)) that the program makes for itself.
 */
#include "hostile.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MADE_UP 4242

/* That call traps from now on, whichever thread makes it.  False: there are no filters. */
static bool traps(long nr)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0)
		return true;
	say("SKIP: no filters of system calls: %s", strerrorname_np(errno));
	return false;
}

static void *asks(void *unused)
{
	say_result("getpgid", getpgid(0));
	return unused;
}

CASE(a_filter_that_traps_kills)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	if (traps(SYS_getpgid))
		in_thread(asks, NULL);
}

static void makes_it_up(int sig, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;

	say("signal %d, code %d, call %d", sig, info->si_code, info->si_syscall);
	context->uc_mcontext.gregs[REG_RAX] = MADE_UP;
}

CASE(a_handler_of_what_a_filter_traps_makes_the_result)
{
	struct sigaction action = { .sa_sigaction = makes_it_up, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	if (traps(SYS_getpgid))
		for (int i = 0; i < 3; i++)
			in_thread(asks, NULL);
}
