/* SPDX-License-Identifier: MIT
 *
 * Fuzzes greentrace's readers of what a traced program's file has in it: probes' notes, by
 * themselves and in an ELF file; and of lockfiles.
 *
 * Beyond not crashing: what a note is said to contain, it contains.
 */
#include "lockfile.h"
#include "notes.h"
#include "quiet_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_note(const struct note *note, size_t size)
{
	size_t texts = strlen(note->provider) + strlen(note->name) + strlen(note->arguments) + 3;

	if (24 + texts > size)
		abort();
}

static void read_lock(const uint8_t *data, size_t size)
{
	struct lock lock = { 0 };
	FILE *f = fmemopen((void *)(uintptr_t)data, size, "r");

	if (!f)
		return;
	lock_read_stream(&lock, f, "input");
	lock_free(&lock);
	fclose(f);
}

/* libelf may change what it is given. */
static void read_elf(const uint8_t *data, size_t size)
{
	struct notes notes;
	char *copy = malloc(size);

	if (!copy)
		return;
	memcpy(copy, data, size);
	if (notes_read_memory(&notes, copy, size) == 0) {
		for (size_t i = 0; i < notes.count; i++)
			check_note(&notes.all[i], size);
		notes_free(&notes);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct note note;

	if (note_parse(&note, (const char *)data, size, size)) {
		check_note(&note, size);
		note_clear(&note);
	}
	if (size >= 16 && data[0] == 'L')
		read_lock(data + 1, size - 1);
	else if (size >= 16 && data[0] == 0x7f)
		read_elf(data, size);
	return 0;
}
