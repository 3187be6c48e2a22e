/* SPDX-License-Identifier: MIT
 *
 * The runtime cannot go on: it says so, and what to do, and ends the process.
 */
#include "harness.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char text[16384];

/* Runs fn in a process of its own until that ends: its status; what it said is in text. */
static int death_of(green_fn fn)
{
	int file = memfd_create("said", MFD_CLOEXEC), before = dup(2);

	REQUIRE(file >= 0 && before >= 0);
	REQUIRE_EQ(dup2(file, 2), 2);
	int status = run_to_death(NULL, fn);
	REQUIRE_EQ(dup2(before, 2), 2);
	ssize_t n = pread(file, text, sizeof(text) - 1, 0);
	REQUIRE(n >= 0);
	text[n] = 0;
	close(before);
	close(file);
	return status;
}

static void *nap(void *unused)
{
	usleep(10000);
	return unused;
}

/* A registered ring goes on without its descriptor; a doorbell that is one does not. */
static void *close_all(void *unused)
{
	closefrom(3);
	for (int i = 0; i < 100; i++)
		green_offload(nap, NULL, NULL);
	return unused;
}

TEST(closing_the_runtimes_descriptors_is_reported)
{
	const char *before = getenv("GREEN_FEATURES");
	char features[512];

	snprintf(features, sizeof(features), "%s%s-uring_futex", before ? before : "",
	         before && *before ? "," : "");
	char *old = before ? strdup(before) : NULL;
	setenv("GREEN_FEATURES", features, 1);
	int status = death_of(close_all);
	if (old)
		setenv("GREEN_FEATURES", old, 1);
	else
		unsetenv("GREEN_FEATURES");
	free(old);

	if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
		fprintf(stderr, "status %x, it said: %s\n", (unsigned)status, text);
	CHECK_HAS(text, "libgreen: fatal: the program closed a descriptor");
	CHECK_HAS(text, "remedy: ");
}

static struct green_info info;

static void *ask(void *unused)
{
	REQUIRE_EQ(green_info(&info), 0);
	return unused;
}

/* Where the runtime has none whose number it needs. */
TEST(closing_all_descriptors_loses_nothing)
{
	REQUIRE_EQ(run_green_with(NULL, ask, NULL, NULL), 0);
	if (strcmp(info.engine, "io_uring") != 0 || !strstr(info.features, "+ring_fd") ||
	    !strstr(info.features, "+uring_futex"))
		SKIP("the engine needs its descriptors");
	if (!CHECK_EQ(death_of(close_all), 0))
		fprintf(stderr, "it said: %s\n", text);
}
