/* SPDX-License-Identifier: MIT
 *
 * The table of media types, most asked for first.
 */
#include "mime.h"

#define TYPE(ending, type)                      \
	{                                       \
		{ ending, sizeof(ending) - 1 }, \
		{                               \
			type, sizeof(type) - 1  \
		}                               \
	}

static const struct {
	struct slice ending, type;
} types[] = {
	TYPE("html", "text/html; charset=utf-8"),
	TYPE("css", "text/css; charset=utf-8"),
	TYPE("js", "text/javascript; charset=utf-8"),
	TYPE("json", "application/json"),
	TYPE("png", "image/png"),
	TYPE("jpg", "image/jpeg"),
	TYPE("jpeg", "image/jpeg"),
	TYPE("svg", "image/svg+xml"),
	TYPE("webp", "image/webp"),
	TYPE("gif", "image/gif"),
	TYPE("ico", "image/x-icon"),
	TYPE("woff2", "font/woff2"),
	TYPE("woff", "font/woff"),
	TYPE("txt", "text/plain; charset=utf-8"),
	TYPE("htm", "text/html; charset=utf-8"),
	TYPE("mjs", "text/javascript; charset=utf-8"),
	TYPE("xml", "application/xml"),
	TYPE("pdf", "application/pdf"),
	TYPE("md", "text/markdown; charset=utf-8"),
	TYPE("csv", "text/csv; charset=utf-8"),
	TYPE("wasm", "application/wasm"),
	TYPE("avif", "image/avif"),
	TYPE("mp3", "audio/mpeg"),
	TYPE("ogg", "audio/ogg"),
	TYPE("mp4", "video/mp4"),
	TYPE("webm", "video/webm"),
	TYPE("gz", "application/gzip"),
	TYPE("zip", "application/zip"),
};

struct slice mime_type(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *dot = strrchr(slash ? slash : name, '.');

	if (dot) {
		struct slice ending = { dot + 1, strlen(dot + 1) };

		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
			if (slice_equal_nocase(ending, types[i].ending))
				return types[i].type;
	}
	return SLICE("application/octet-stream");
}
