/* SPDX-License-Identifier: MIT
 *
 * libgreenrun.so: preloaded, it switches interception on when the process makes its first
 * thread, and its only one so far becomes the first green thread.
 *
 * Until then there is nobody whom another could keep from running, and the program runs as
 * it is: a shell, a child of popen(3), and a server before it has become a daemon and given
 * up rights and directories, cost and behave as they do without us.
 */
#include "maker.h"

#include <green.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTINGS_MAX 64
#define PREFIX "GREEN_"

extern char **environ;

/* The GREEN_* of the environment that the program was given: it may clear that before it
 * makes a thread. */
static char *settings[SETTINGS_MAX];

static atomic_bool started;

/* greenrun --stack: for threads whose attributes say nothing.  libc's own word for it, the
 * soft limit on the stack, would count for main() and for children as well. */
static void set_thread_stack(void)
{
	const char *text = getenv("GREEN_THREAD_STACK");
	pthread_attr_t attributes;
	char *end;

	if (!text || pthread_attr_init(&attributes))
		return;
	if (pthread_attr_setstacksize(&attributes, strtoull(text, &end, 10)) || *end ||
	    pthread_setattr_default_np(&attributes))
		fprintf(stderr, "greenrun: GREEN_THREAD_STACK: \"%s\" is no size of a stack\n",
		        text);
	pthread_attr_destroy(&attributes);
}

__attribute__((constructor)) static void begin(void)
{
	size_t n = 0;

	for (char **e = environ; e && *e && n < SETTINGS_MAX; e++)
		if (strncmp(*e, PREFIX, strlen(PREFIX)) == 0 && strchr(*e, '='))
			settings[n++] = strdup(*e);
	set_thread_stack();
}

/* true: the variable is put back; to be taken away again. */
static bool give_back(const char *setting)
{
	char name[64];
	const char *value = setting ? strchr(setting, '=') : NULL;

	if (!value || (size_t)(value - setting) >= sizeof(name))
		return false;
	memcpy(name, setting, (size_t)(value - setting));
	name[value - setting] = 0;
	return !getenv(name) && setenv(name, value + 1, 0) == 0;
}

static int start_with_settings(void)
{
	bool given[SETTINGS_MAX];

	for (size_t i = 0; i < SETTINGS_MAX; i++)
		given[i] = give_back(settings[i]);
	int r = green_intercept_start();
	for (size_t i = 0; i < SETTINGS_MAX; i++)
		if (given[i]) {
			char *name = strdup(settings[i]);
			if (name) {
				*strchr(name, '=') = 0;
				unsetenv(name);
				free(name);
			}
		}
	return r;
}

void maker_start(void)
{
	/* The runtime makes threads itself, in here. */
	if (atomic_exchange(&started, true))
		return;
	int error = errno, r = start_with_settings();

	if (r < 0) {
		bool refused = r == -EINVAL || r == -ENOTSUP;
		bool own = r == -EALREADY || r == -EBUSY;
		fprintf(stderr, "greenrun: %s%s\n", green_error(),
		        refused ? ""
		        : own   ? "; the program goes on as it is"
		                : "; the program goes on with threads of the kernel");
		if (refused)
			_Exit(125);
	}
	errno = error;
}

void maker_find(void *function, const char *name)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	if (!symbol) {
		fprintf(stderr, "greenrun: libc has no %s\n", name);
		_Exit(125);
	}
	memcpy(function, &symbol, sizeof(symbol));
}

/* Who asked for a report of a program without threads learns that it was one. */
__attribute__((destructor)) static void end(void)
{
	const char *where = getenv("GREEN_REPORT");
	FILE *out = stderr;

	if (!where || !*where || atomic_load(&started))
		return;
	if (strcmp(where, "-") != 0)
		out = fopen(where, "ae");
	if (!out)
		return;
	fprintf(out, "greenrun: report of \"%s\" (%d): it made no thread, and ran as it is\n",
	        program_invocation_short_name, (int)getpid());
	if (out != stderr)
		fclose(out);
}
