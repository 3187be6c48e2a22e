/* SPDX-License-Identifier: MIT
 *
 * Listing the probes of a process, and which of them somebody is attached to.
 */
#include "probes.h"
#include "escape.h"
#include "files.h"
#include "greenps.h"
#include "notes.h"
#include "session.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What to add to the file's addresses: executables that cannot be moved have not been. */
static uint64_t bias_of(struct session *s)
{
	Elf64_Ehdr header;

	if (!target_read(&s->target, s->layout.base, &header, sizeof(header)))
		return 0;
	return header.e_type == ET_EXEC ? 0 : s->layout.base;
}

static bool is_on(struct session *s, const struct note *note, uint64_t bias)
{
	uint16_t semaphore = 0;

	return note->semaphore &&
	       target_read(&s->target, note->semaphore + bias, &semaphore, sizeof(semaphore)) &&
	       semaphore > 0;
}

static void print_note(struct session *s, const struct note *note, uint64_t bias, bool json)
{
	char text[256];
	bool on = is_on(s, note, bias);

	if (!json) {
		printf("%-16s 0x%-12" PRIx64 " %-8s ",
		       escape_text(text, sizeof(text), note->name, false), note->location + bias,
		       on ? "attached" : "-");
		printf("%s\n", escape_text(text, sizeof(text), note->arguments, false));
		return;
	}
	printf("{\"type\":\"probe\",\"name\":");
	escape_json(note->name);
	printf(",\"address\":\"0x%" PRIx64 "\",\"attached\":%s,\"arguments\":",
	       note->location + bias, on ? "true" : "false");
	escape_json(note->arguments);
	printf("}\n");
}

static int list(struct session *s, bool json)
{
	char shown[300];
	struct notes notes = { 0 };
	int fd = open(s->file, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : notes_read(&notes, fd);
	bool is_cut = fd >= 0 && file_is_cut_short(fd);

	if (fd >= 0)
		close(fd);
	escape_text(shown, sizeof(shown), s->file, true);
	if (is_cut) {
		notes_free(&notes);
		return problem("%s: the file has been cut short since it was loaded", shown);
	}
	if (r)
		return problem("%s: %s", shown, strerror(-r));
	if (!json)
		printf("PROBE            ADDRESS        STATE    ARGUMENTS\n");
	for (size_t i = 0; i < notes.count; i++)
		if (strcmp(notes.all[i].provider, TRACE_PROVIDER) == 0)
			print_note(s, &notes.all[i], bias_of(s), json);
	notes_free(&notes);
	return EXIT_OK;
}

int probes_list(pid_t pid, bool json)
{
	struct session session;
	int status = session_open(&session, pid, false);

	if (status == EXIT_OK)
		status = list(&session, json);
	session_close(&session);
	return status;
}
