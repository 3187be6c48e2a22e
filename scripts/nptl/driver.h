/* SPDX-License-Identifier: MIT
 *
 * main() of a thread test: runs it in a child, with a limit of time, and says 0, 1 or
 * EXIT_UNSUPPORTED.  Included at the end of a test, which has defined what it wants else.
 */
#include "nptl.h"

#include <getopt.h>

#ifndef TIMEOUT
#define TIMEOUT 20
#endif
#define TIMEOUT_SCALE 4 /* others use the machine, too */
#ifndef EXPECTED_SIGNAL
#define EXPECTED_SIGNAL 0
#endif
#ifndef EXPECTED_STATUS
#define EXPECTED_STATUS 0
#endif

static int nptl_run(int argc, char **argv)
{
#if defined(TEST_FUNCTION_ARGV)
	return TEST_FUNCTION_ARGV(argc, argv);
#else
	(void)argc;
	(void)argv;
#ifdef TEST_FUNCTION
	return TEST_FUNCTION();
#else
	return do_test();
#endif
#endif
}

static pid_t nptl_child;

static void nptl_late(int sig)
{
	(void)sig;
	kill(nptl_child, SIGKILL);
	write(1, "it ran into its limit of time\n", 30);
}

int main(int argc, char **argv)
{
	int status;

	setvbuf(stdout, NULL, _IONBF, 0);
	nptl_failures = support_shared_allocate(sizeof(*nptl_failures));
#ifdef CMDLINE_PROCESS
	static const struct option options[] = { CMDLINE_OPTIONS{ NULL, 0, NULL, 0 } };
	for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;)
		CMDLINE_PROCESS(option);
	/* Executed by itself. */
	if (optind > 1)
		return nptl_run(argc, argv);
#endif
#ifdef PREPARE
	PREPARE(argc, argv);
#endif
	nptl_child = fork();
	if (nptl_child == 0) {
		setpgid(0, 0);
		exit(nptl_run(argc, argv));
	}
	signal(SIGALRM, nptl_late);
	alarm(TIMEOUT * TIMEOUT_SCALE);
	while (waitpid(nptl_child, &status, 0) < 0)
		;
	alarm(0);
	kill(-nptl_child, SIGKILL); /* what it has left */
#ifdef CLEANUP_HANDLER
	CLEANUP_HANDLER();
#endif
	if (WIFSIGNALED(status)) {
		printf("signal %d\n", WTERMSIG(status));
		return WTERMSIG(status) != EXPECTED_SIGNAL;
	}
	if (WEXITSTATUS(status) == EXIT_UNSUPPORTED)
		return EXIT_UNSUPPORTED;
	return WEXITSTATUS(status) != EXPECTED_STATUS || EXPECTED_SIGNAL ||
	       atomic_load(nptl_failures);
}
