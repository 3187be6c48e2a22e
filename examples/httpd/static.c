/* SPDX-License-Identifier: MIT
 *
 * Everything without a handler of its own: GET and HEAD of static files, whole
 * or a range, or "not modified".
 */
#include "date.h"
#include "files.h"
#include "mime.h"
#include "path.h"
#include "range.h"
#include "response.h"
#include "route.h"

#include <errno.h>

static const char index_name[] = "index.html";

struct file {
	int fd;
	uint64_t size;
	int64_t modified;
	struct slice type;
	char etag[40]; /* changes whenever size or time of change do */
	size_t etag_len;
};

static struct slice etag_slice(const struct file *file)
{
	return (struct slice){ file->etag, file->etag_len };
}

static void describe(struct file *file, const struct stat *st, const char *name)
{
	struct text etag = { .buf = file->etag, .size = sizeof(file->etag) };
	uint64_t changed =
		(uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;

	file->size = (uint64_t)st->st_size;
	file->modified = st->st_mtim.tv_sec;
	file->type = mime_type(name);
	text_put(&etag, SLICE("\""));
	text_hex(&etag, changed);
	text_put(&etag, SLICE("-"));
	text_hex(&etag, file->size);
	text_put(&etag, SLICE("\""));
	file->etag_len = etag.len;
}

/* ---- conditions ---------------------------------------------------------- */

static bool etag_listed(struct slice list, struct slice etag)
{
	struct slice element;

	while (slice_next_element(&list, &element)) {
		if (slice_equal(element, SLICE("*")))
			return true;
		if (element.len > 2 && element.ptr[0] == 'W' && element.ptr[1] == '/') {
			element.ptr += 2;
			element.len -= 2;
		}
		if (slice_equal(element, etag))
			return true;
	}
	return false;
}

static bool not_modified(const struct exchange *x, const struct file *file)
{
	const struct request *request = &x->request;

	if (request->if_none_match.len > 0)
		return etag_listed(exchange_slice(x, request->if_none_match), etag_slice(file));
	if (request->if_modified_since.len > 0)
		return file->modified <= date_parse(exchange_slice(x, request->if_modified_since));
	return false;
}

static enum range_result wanted_range(const struct exchange *x, const struct file *file,
                                      uint64_t *first, uint64_t *last)
{
	const struct request *request = &x->request;

	if (request->method != METHOD_GET || request->range.len == 0)
		return RANGE_WHOLE;
	/* A part of the file as it was, or all of it as it is. */
	if (request->if_range.len > 0 &&
	    !slice_equal(exchange_slice(x, request->if_range), etag_slice(file)))
		return RANGE_WHOLE;
	return range_parse(exchange_slice(x, request->range), file->size, first, last);
}

/* ---- responses ----------------------------------------------------------- */

static void validators(struct text *head, const struct file *file)
{
	char date[DATE_LEN];

	date_format(date, file->modified);
	head_field(head, "Last-Modified", ((struct slice){ date, DATE_LEN }));
	head_field(head, "ETag", etag_slice(file));
}

static int respond_not_modified(struct connection *c, const struct file *file)
{
	struct text head = head_begin(c, 304);

	validators(&head, file);
	head_end(&head, c);
	return respond(c, &head, SLICE(""));
}

static int respond_unsatisfiable(struct connection *c, const struct file *file)
{
	char buf[32];
	struct text range = { .buf = buf, .size = sizeof(buf) };

	text_put(&range, SLICE("bytes */"));
	text_number(&range, file->size);
	return respond_error_field(c, 416, "Content-Range", ((struct slice){ buf, range.len }));
}

/* A small body is read to where the head ends, and both go out in one send. */
static int send_small(struct connection *c, struct text *out, const struct file *file,
                      uint64_t offset, size_t count)
{
	struct iovec iov = { out->buf, out->len + count };

	assert(count <= out->size - out->len);
	while (count > 0) {
		ssize_t n = green_pread(file->fd, out->buf + out->len, count, (off_t)offset);

		/* The head has not been sent, so the truth can still be told. */
		if (n <= 0)
			return n == -ECANCELED ? (int)n : respond_error(c, 500);
		out->len += (size_t)n;
		offset += (uint64_t)n;
		count -= (size_t)n;
		c->x->sent += (uint64_t)n;
	}
	return connection_send(c, &iov, 1, false);
}

static int send_large(struct connection *c, struct text *out, const struct file *file,
                      uint64_t offset, uint64_t count)
{
	struct iovec iov = { out->buf, out->len };
	int result = connection_send(c, &iov, 1, true);

	return result < 0 ? result : connection_send_file(c, file->fd, (off_t)offset, count);
}

static void content_range(struct text *head, uint64_t first, uint64_t last, uint64_t size)
{
	text_put(head, SLICE("Content-Range: bytes "));
	text_number(head, first);
	text_put(head, SLICE("-"));
	text_number(head, last);
	text_put(head, SLICE("/"));
	text_number(head, size);
	text_put(head, SLICE("\r\n"));
}

static int respond_file(struct connection *c, const struct file *file)
{
	uint64_t first = 0, last = 0, count = file->size;
	enum range_result range;

	if (not_modified(c->x, file))
		return respond_not_modified(c, file);
	range = wanted_range(c->x, file, &first, &last);
	if (range == RANGE_UNSATISFIABLE)
		return respond_unsatisfiable(c, file);

	struct text head = head_begin(c, range == RANGE_PART ? 206 : 200);
	if (range == RANGE_PART) {
		count = last - first + 1;
		content_range(&head, first, last, file->size);
	}
	head_field(&head, "Content-Type", file->type);
	head_number(&head, "Content-Length", count);
	head_field(&head, "Accept-Ranges", SLICE("bytes"));
	validators(&head, file);
	head_end(&head, c);
	if (c->x->request.method == METHOD_HEAD)
		return respond(c, &head, SLICE(""));
	return count <= SMALL_FILE_MAX ? send_small(c, &head, file, first, (size_t)count)
	                               : send_large(c, &head, file, first, count);
}

/* ---- finding the file ---------------------------------------------------- */

/* To the same path with a slash behind it, so that links in its index work. */
static int redirect_to_directory(struct connection *c)
{
	const struct exchange *x = c->x;
	struct slice path = exchange_slice(x, x->request.path);
	struct slice query = exchange_slice(x, x->request.query);
	struct text head = head_begin(c, 301);

	/* Two slashes, or what browsers take for some, would name a host. */
	while (path.len > 0 && (path.ptr[0] == '/' || path.ptr[0] == '\\')) {
		path.ptr++;
		path.len--;
	}
	text_put(&head, SLICE("Location: /"));
	text_put(&head, path);
	text_put(&head, SLICE("/"));
	if (query.len > 0) {
		text_put(&head, SLICE("?"));
		text_put(&head, query);
	}
	text_put(&head, SLICE("\r\n"));
	return respond_page(c, &head, SLICE("text/plain"), SLICE("301 Moved Permanently\n"));
}

static int status_of_error(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case EXDEV: /* a link out of the root */
	case ENAMETOOLONG:
	case ENXIO:
		return 404;
	case EACCES:
	case EPERM:
		return 403;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
		return 503;
	default:
		return 500;
	}
}

static int serve_open(struct connection *c, int fd, const struct stat *st, const char *name,
                      bool is_index)
{
	struct file file = { .fd = fd };

	if (S_ISDIR(st->st_mode))
		return is_index ? respond_error(c, 404) : redirect_to_directory(c);
	if (!S_ISREG(st->st_mode))
		return respond_error(c, 403);
	describe(&file, st, name);
	return respond_file(c, &file);
}

int files_serve(struct connection *c)
{
	struct exchange *x = c->x;
	/* Nothing else uses the out buffer before the head is begun. */
	char *name = x->out;
	struct stat st;
	int len, fd, result;

	if (x->request.method != METHOD_GET && x->request.method != METHOD_HEAD)
		return respond_other_method(c, SLICE("GET, HEAD, OPTIONS"));
	len = path_decode(exchange_slice(x, x->request.path), name,
	                  EXCHANGE_OUT - sizeof(index_name));
	if (len < 0)
		return respond_error(c, -len);
	bool is_index = len == 0 || name[len - 1] == '/';
	if (is_index)
		memcpy(name + len, index_name, sizeof(index_name));
	fd = files_open(name, &st);
	if (fd < 0)
		return fd == -ECANCELED ? fd : respond_error(c, status_of_error(-fd));
	result = serve_open(c, fd, &st, name, is_index);
	green_close(fd);
	return result;
}
