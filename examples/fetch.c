/* SPDX-License-Identifier: MIT
 *
 * One function, fetch(), used with the runtime and without it.
 *
 *	fetch [--plain | --green] HOST:PORT/PATH...
 *
 * --plain calls it from main(), where it blocks like any other function and the
 * resources come one after the other; --green calls it from green threads, at
 * most eight at once.  Both print the same: the bodies, in the order asked for.
 * Without either it does both, compares, and prints once.
 *
 * Exit status: 0; 1 when a resource could not be fetched or the two differ; 2
 * for a bad command line.
 */
#include <green.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONCURRENCY 8
#define TIMEOUT_NS GREEN_S(20)
#define RESPONSE_MAX (64u << 20)

struct body {
	char *text; /* the whole response; NULL when fetching failed */
	size_t len;
	size_t start; /* of the body in it */
	int error;
};

/* ---- fetch: knows nothing of green threads ------------------------------- */

static int send_request(int fd, const char *host, int host_len, const char *path)
{
	char request[2048];
	int len = snprintf(request, sizeof(request),
	                   "GET %s HTTP/1.0\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
	                   *path != '\0' ? path : "/", host_len, host);

	if (len >= (int)sizeof(request))
		return -ENAMETOOLONG;
	ssize_t sent = green_send(fd, request, (size_t)len, 0);
	return sent < 0 ? (int)sent : 0;
}

/* Reads up to the end of the stream. */
static int read_response(int fd, struct body *body)
{
	size_t size = 0;
	ssize_t n;

	do {
		if (size - body->len < 4096) {
			char *larger =
				size < RESPONSE_MAX ? realloc(body->text, size + 65536) : NULL;

			if (!larger)
				return -ENOMEM;
			body->text = larger;
			size += 65536;
		}
		n = green_recv(fd, body->text + body->len, size - body->len - 1, 0);
		if (n < 0)
			return (int)n;
		body->len += (size_t)n;
	} while (n > 0);
	body->text[body->len] = '\0';
	return 0;
}

static int find_body(struct body *body)
{
	const char *end = strstr(body->text, "\r\n\r\n");

	if (!end || strncmp(body->text, "HTTP/1.", 7) != 0)
		return -EPROTO;
	body->start = (size_t)(end + 4 - body->text);
	return strncmp(body->text + 8, " 200 ", 5) == 0 ? 0 : -ENOENT;
}

static int fetch_into(const char *url, struct body *body)
{
	size_t host_len = strcspn(url, "/");
	char host[256];
	int fd, error;

	if (host_len >= sizeof(host))
		return -ENAMETOOLONG;
	memcpy(host, url, host_len);
	host[host_len] = '\0';
	fd = green_connect_host(host);
	if (fd < 0)
		return fd;
	error = send_request(fd, host, (int)host_len, url + host_len);
	if (error == 0)
		error = read_response(fd, body);
	if (error == 0)
		error = find_body(body);
	green_close(fd);
	return error;
}

/* Fetches a resource; gives up after a while. */
static void *fetch(void *url)
{
	struct body *body = calloc(1, sizeof(*body));
	struct green_deadline scope;

	if (!body)
		abort();
	green_deadline_begin(&scope, TIMEOUT_NS);
	body->error = fetch_into(url, body);
	green_deadline_end(&scope);
	return body;
}

/* ---- one after the other, and all at once -------------------------------- */

struct urls {
	char **next;
	struct body **results;
};

static void fetch_plain(struct urls urls)
{
	while (*urls.next)
		*urls.results++ = fetch(*urls.next++);
}

static int next_url(void *arg, void **url)
{
	struct urls *urls = arg;

	*url = *urls->next;
	return *urls->next ? (urls->next++, 1) : 0;
}

static void *fetch_green(void *arg)
{
	struct urls *urls = arg;
	green_pool_t *pool = green_pool_new(CONCURRENCY);
	green_imap_t *imap = pool ? green_pool_imap(pool, fetch, next_url, urls) : NULL;
	void *result;

	while (imap && green_imap_next(imap, &result) > 0)
		*urls->results++ = result;
	green_imap_delete(imap);
	green_pool_delete(pool);
	return NULL;
}

/* ---- output -------------------------------------------------------------- */

static bool same(const struct body *a, const struct body *b)
{
	if (!a || !b || a->error != b->error || a->len - a->start != b->len - b->start)
		return false;
	return a->error != 0 ||
	       memcmp(a->text + a->start, b->text + b->start, a->len - a->start) == 0;
}

/* Prints the bodies; the number that are missing. */
static int print(char **urls, struct body **bodies)
{
	int missing = 0;

	for (; *urls; urls++, bodies++) {
		const struct body *body = *bodies;

		if (body && body->error == 0) {
			fwrite(body->text + body->start, 1, body->len - body->start, stdout);
			continue;
		}
		fprintf(stderr, "fetch: %s: %s%s\n", *urls,
		        body ? strerror(-body->error) : "not tried",
		        body && body->error == -EINVAL ? "; it takes HOST:PORT/PATH" : "");
		missing++;
	}
	return missing;
}

static void free_bodies(struct body **bodies, int count)
{
	for (int i = 0; i < count; i++) {
		if (bodies[i])
			free(bodies[i]->text);
		free(bodies[i]);
	}
	free(bodies);
}

int main(int argc, char **argv)
{
	bool plain = argc > 1 && strcmp(argv[1], "--plain") == 0;
	bool green = argc > 1 && strcmp(argv[1], "--green") == 0;
	char **urls = argv + 1 + (plain || green);
	int count = argc - (int)(urls - argv), failed = 0;

	if (count < 1 || urls[0][0] == '-') {
		bool help = count > 0 && strcmp(urls[0], "--help") == 0;
		fprintf(help ? stdout : stderr,
		        "Usage: fetch [--plain | --green] HOST:PORT/PATH...\n");
		return help ? 0 : 2;
	}
	struct body **one = calloc(2 * (size_t)count, sizeof(struct body *));
	if (!one)
		return 1;
	struct body **other = one + count;
	if (!green)
		fetch_plain((struct urls){ urls, one });
	if (!plain) {
		struct urls list = { urls, other };
		int result = green_run(fetch_green, &list, NULL);

		if (result < 0)
			fprintf(stderr, "fetch: %s\n", green_error());
	}
	failed = print(urls, green ? other : one);
	for (int i = 0; !plain && !green && i < count; i++) {
		if (same(one[i], other[i]))
			continue;
		fprintf(stderr, "fetch: %s: differs with the runtime\n", urls[i]);
		failed++;
	}
	free_bodies(one, 2 * count);
	return failed != 0;
}
