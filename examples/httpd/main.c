/* SPDX-License-Identifier: MIT
 *
 * httpd: an HTTP/1.1 server that reads like one thread per connection, because
 * it is; the threads are green.
 *
 * Start reading in connection.c.  request.c, chunk.c, date.c, range.c, path.c
 * and mime.c know nothing of green threads; the rest blocks as it likes.
 */
#include "config.h"
#include "files.h"
#include "idle.h"
#include "listen.h"
#include "local.h"
#include "log.h"
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

/* More descriptors than this need a sysctl anyway. */
#define DESCRIPTORS_MAX (1u << 20)

/* Uses as many descriptors as we may have.  Returns their number. */
static size_t raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return DESCRIPTORS_MAX;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur < DESCRIPTORS_MAX ? limit.rlim_cur : DESCRIPTORS_MAX;
}

static int failed(const char *what, const char *name, int result)
{
	fprintf(stderr, "httpd: %s%s: %s\n", what, name, strerror(-result));
	return EXIT_FAILED;
}

static int runtime_failed(int result)
{
	const char *error = green_error();

	fprintf(stderr, "httpd: %s\n", *error != '\0' ? error : strerror(-result));
	return EXIT_FAILED;
}

/* Everything that can fail for want of memory or rights, before the first
 * connection. */
static int prepare(int fd)
{
	struct green_info info;
	int result = files_init(config.root, false);

	if (result < 0)
		return failed("--root ", config.root, result);
	result = log_init();
	if (result < 0)
		return failed("--log ", config.log, result);
	result = idle_init(raise_descriptor_limit());
	if (result == 0 && green_info(&info) == 0)
		result = local_init(info.workers);
	if (result == 0)
		result = server_init(fd);
	return result < 0 ? failed("starting", "", result) : 0;
}

int main(int argc, char **argv)
{
	char address[128];
	void *status = NULL;
	int fd, result;

	config_parse(argc, argv);
	struct green_options options = { .workers = config.workers, .engine = config.engine };
	result = green_init(&options);
	if (result < 0)
		return runtime_failed(result);
	fd = listen_open();
	if (fd < 0)
		return EXIT_FAILED;
	result = prepare(fd);
	if (result != 0)
		return result;

	listen_describe(fd, address, sizeof(address));
	printf("listening on %s\n", address);
	fflush(stdout);
	result = green_run(server_run, NULL, &status);
	return result < 0 ? runtime_failed(result) : (int)(intptr_t)status;
}
