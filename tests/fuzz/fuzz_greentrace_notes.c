/* SPDX-License-Identifier: MIT
 *
 * Fuzzes greentrace's readers of what a traced program's file has in it: probes' notes, by
 * themselves and in an ELF file; and of lockfiles.
 *
 * Beyond not crashing: what a note is said to contain, it contains.
 */
#include "greenps.h"
#include "lockfile.h"
#include "notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char tool_name[] = "fuzz";

void complain(const char *format, ...)
{
	char text[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
}

static void check_note(const struct note *note, size_t size)
{
	size_t texts = strlen(note->provider) + strlen(note->name) + strlen(note->arguments) + 3;

	if (24 + texts > size)
		abort();
}

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, data, size) != (ssize_t)size) {
		close(fd);
		return -1;
	}
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct notes notes;
	struct note note;

	if (note_parse(&note, (const char *)data, size, size)) {
		check_note(&note, size);
		note_clear(&note);
	}
	if (size < 16 || (data[0] != 0x7f && data[0] != 'L'))
		return 0;
	int fd = file_of(data + (data[0] == 'L'), size - (data[0] == 'L'));
	if (fd < 0)
		return 0;
	if (data[0] == 'L') {
		struct lock lock = { 0 };
		char path[64];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		lock_read(&lock, path);
		lock_free(&lock);
	} else if (notes_read(&notes, fd) == 0) {
		for (size_t i = 0; i < notes.count; i++)
			check_note(&notes.all[i], size);
		notes_free(&notes);
	}
	close(fd);
	return 0;
}
