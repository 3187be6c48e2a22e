/* SPDX-License-Identifier: MIT
 *
 * One probe note.
 *
 * Its description is three addresses (of the probe, of the section .stapsdt.base when the
 * file was linked, of the semaphore) and three strings.
 */
#include "notes.h"

#include <stdlib.h>
#include <string.h>

/* The string at *at, which moves behind it; NULL: it does not end. */
static char *next_string(const char *desc, size_t size, size_t *at)
{
	const char *text = desc + *at;
	const char *end = *at < size ? memchr(text, 0, size - *at) : NULL;

	if (!end)
		return NULL;
	*at += (size_t)(end - text) + 1;
	return strdup(text);
}

void note_clear(struct note *note)
{
	free(note->provider);
	free(note->name);
	free(note->arguments);
	memset(note, 0, sizeof(*note));
}

bool note_parse(struct note *note, const char *desc, size_t size, uint64_t base)
{
	uint64_t address[3];
	size_t at = sizeof(address);

	memset(note, 0, sizeof(*note));
	if (size < sizeof(address))
		return false;
	memcpy(address, desc, sizeof(address));
	uint64_t moved = base && address[1] ? base - address[1] : 0;
	note->location = address[0] + moved;
	note->semaphore = address[2] ? address[2] + moved : 0;
	note->provider = next_string(desc, size, &at);
	note->name = next_string(desc, size, &at);
	note->arguments = next_string(desc, size, &at);
	if (note->provider && note->name && note->arguments)
		return true;
	note_clear(note);
	return false;
}
