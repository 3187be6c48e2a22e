/* SPDX-License-Identifier: MIT
 *
 * The access log: one buffer that is filled, another that is being written.
 */
#include "log.h"
#include "text.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE 65536
/* Of a line, when everything in it has to be escaped. */
#define FIELD_MAX 2048
#define LINE_MAX_BYTES (3 * FIELD_MAX + 256)

static struct {
	int fd;
	/* Guards the line buffer and the time stamp. */
	green_mutex_t mutex;
	char *filling;
	size_t len;
	int64_t stamp_seconds;
	char stamp[32];
	/* Guards the file and the buffer being written; taken first. */
	green_mutex_t write_mutex;
	char *writing;
} state = { .fd = -1 };

static int open_file(void)
{
	int fd;

	if (strcmp(config.log, "-") == 0)
		return STDOUT_FILENO;
	fd = open(config.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	return fd;
}

int log_init(void)
{
	if (!config.log)
		return 0;
	state.filling = malloc(BUFFER_SIZE);
	state.writing = malloc(BUFFER_SIZE);
	if (!state.filling || !state.writing)
		return -ENOMEM;
	state.fd = open_file();
	return state.fd < 0 ? state.fd : 0;
}

void log_peer(struct connection *c)
{
	socklen_t len = sizeof(c->peer);

	if (config.log && getpeername(c->fd, (struct sockaddr *)&c->peer, &len) != 0)
		c->peer.sin6_family = AF_UNSPEC;
}

/* ---- a line -------------------------------------------------------------- */

size_t log_escape(char *out, size_t size, struct slice s)
{
	size_t len = 0;

	for (size_t i = 0; i < s.len && size - len >= 4; i++) {
		unsigned char byte = (unsigned char)s.ptr[i];

		if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
			out[len++] = (char)byte;
			continue;
		}
		out[len++] = '\\';
		out[len++] = 'x';
		out[len++] = "0123456789abcdef"[byte >> 4];
		out[len++] = "0123456789abcdef"[byte & 15];
	}
	return len;
}

static void put_quoted(struct text *line, struct slice s)
{
	text_put(line, s.len > 0 ? SLICE("\"") : SLICE("\"-"));
	assert(line->size - line->len >= FIELD_MAX);
	line->len += log_escape(line->buf + line->len, FIELD_MAX, s);
	text_put(line, SLICE("\""));
}

static void put_peer(char *out, socklen_t size, const struct sockaddr_in6 *peer)
{
	struct sockaddr_in v4;

	memcpy(&v4, peer, sizeof(v4));
	if (peer->sin6_family == AF_INET)
		inet_ntop(AF_INET, &v4.sin_addr, out, size);
	else if (peer->sin6_family == AF_INET6)
		inet_ntop(AF_INET6, &peer->sin6_addr, out, size);
	else
		snprintf(out, size, "%s", peer->sin6_family == AF_UNIX ? "unix" : "-");
}

/* The time in state.stamp, made once a second. */
static void update_stamp(void)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec == state.stamp_seconds)
		return;
	state.stamp_seconds = now.tv_sec;
	gmtime_r(&now.tv_sec, &tm);
	strftime(state.stamp, sizeof(state.stamp), "%d/%b/%Y:%H:%M:%S +0000", &tm);
}

/* Writes a line of at most LINE_MAX_BYTES, returns its length. */
static size_t put_line(char *out, const struct connection *c)
{
	const struct exchange *x = c->x;
	const struct request *r = &x->request;
	struct text line = { .buf = out, .size = LINE_MAX_BYTES };
	char peer[INET6_ADDRSTRLEN];

	put_peer(peer, sizeof(peer), &c->peer);
	update_stamp();
	text_put(&line, (struct slice){ peer, strlen(peer) });
	text_put(&line, SLICE(" - - ["));
	text_put(&line, (struct slice){ state.stamp, strlen(state.stamp) });
	text_put(&line, SLICE("] "));
	put_quoted(&line, exchange_slice(x, r->start_line));
	text_put(&line, SLICE(" "));
	text_number(&line, (unsigned)x->status);
	text_put(&line, SLICE(" "));
	text_number(&line, x->sent);
	text_put(&line, SLICE(" "));
	put_quoted(&line, exchange_slice(x, r->referer));
	text_put(&line, SLICE(" "));
	put_quoted(&line, exchange_slice(x, r->user_agent));
	text_put(&line, SLICE("\n"));
	return line.len;
}

/* ---- the buffers --------------------------------------------------------- */

void log_flush(void)
{
	struct green_shield shield;
	char *full;
	size_t len;

	if (state.fd < 0)
		return;
	/* A cancelled handler's line counts like any other. */
	green_shield_begin(&shield);
	green_mutex_lock(&state.write_mutex);
	green_mutex_lock(&state.mutex);
	full = state.filling;
	len = state.len;
	state.filling = state.writing;
	state.writing = full;
	state.len = 0;
	green_mutex_unlock(&state.mutex);
	/* A log that cannot be written (a full disk) must not stop the server. */
	if (len > 0)
		green_write(state.fd, full, len);
	green_mutex_unlock(&state.write_mutex);
	green_shield_end(&shield);
}

void log_exchange(const struct connection *c)
{
	struct green_shield shield;

	if (state.fd < 0)
		return;
	green_shield_begin(&shield);
	green_mutex_lock(&state.mutex);
	while (BUFFER_SIZE - state.len < LINE_MAX_BYTES) {
		green_mutex_unlock(&state.mutex);
		log_flush();
		green_mutex_lock(&state.mutex);
	}
	state.len += put_line(state.filling + state.len, c);
	green_mutex_unlock(&state.mutex);
	green_shield_end(&shield);
}

void *log_ticker(void *unused)
{
	while (green_sleep(GREEN_S(1)) == 0)
		log_flush();
	return unused;
}

void log_reopen(void)
{
	int fd;

	if (state.fd < 0 || state.fd == STDOUT_FILENO)
		return;
	log_flush();
	fd = open_file();
	if (fd < 0) {
		fprintf(stderr, "httpd: --log %s: %s; going on with the old file\n", config.log,
		        strerror(-fd));
		return;
	}
	green_mutex_lock(&state.write_mutex);
	int old = state.fd;
	state.fd = fd;
	green_mutex_unlock(&state.write_mutex);
	green_close(old);
}
