/* SPDX-License-Identifier: MIT
 *
 * Finding probe notes by libelf.
 */
#include "notes.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#define STAPSDT_TYPE 3
#define NOTES_MAX 65536

static int keep(struct notes *notes, const struct note *note)
{
	size_t n = notes->count;

	if ((n & (n - 1)) == 0) {
		struct note *more = realloc(notes->all, (n ? 2 * n : 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		notes->all = more;
	}
	notes->all[notes->count++] = *note;
	return 0;
}

static int read_section(struct notes *notes, Elf_Data *data, uint64_t base)
{
	size_t at = 0, name, desc;
	struct note note;
	GElf_Nhdr n;

	while ((at = gelf_getnote(data, at, &n, &name, &desc)) > 0) {
		const char *bytes = data->d_buf;
		if (n.n_type != STAPSDT_TYPE || n.n_namesz != sizeof("stapsdt") ||
		    memcmp(bytes + name, "stapsdt", sizeof("stapsdt")) != 0)
			continue;
		if (!note_parse(&note, bytes + desc, n.n_descsz, base))
			continue;
		int r = notes->count < NOTES_MAX ? keep(notes, &note) : -E2BIG;
		if (r) {
			note_clear(&note);
			return r;
		}
	}
	return 0;
}

/* Where the section .stapsdt.base lies now; 0: there is none. */
static uint64_t base_of(Elf *elf, size_t names)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(elf, section))) {
		const char *name = gelf_getshdr(section, &header)
		                           ? elf_strptr(elf, names, header.sh_name)
		                           : NULL;
		if (name && strcmp(name, ".stapsdt.base") == 0)
			return header.sh_addr;
	}
	return 0;
}

static int read_elf(struct notes *notes, Elf *elf)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	size_t names;
	int r = 0;

	if (elf_kind(elf) != ELF_K_ELF || gelf_getclass(elf) != ELFCLASS64 ||
	    elf_getshdrstrndx(elf, &names) != 0)
		return -ENOEXEC;
	uint64_t base = base_of(elf, names);
	while (!r && (section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_NOTE)
			continue;
		const char *name = elf_strptr(elf, names, header.sh_name);
		Elf_Data *data = elf_getdata(section, NULL);
		if (data && data->d_buf && name && strcmp(name, ".note.stapsdt") == 0)
			r = read_section(notes, data, base);
	}
	return r;
}

static int read_all(struct notes *notes, Elf *elf)
{
	memset(notes, 0, sizeof(*notes));
	if (!elf)
		return -ENOEXEC;
	int r = read_elf(notes, elf);
	elf_end(elf);
	if (r)
		notes_free(notes);
	return r;
}

int notes_read(struct notes *notes, int fd)
{
	elf_version(EV_CURRENT);
	return read_all(notes, elf_begin(fd, ELF_C_READ_MMAP, NULL));
}

int notes_read_memory(struct notes *notes, char *file, size_t size)
{
	elf_version(EV_CURRENT);
	return read_all(notes, elf_memory(file, size));
}

void notes_free(struct notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		note_clear(&notes->all[i]);
	free(notes->all);
	memset(notes, 0, sizeof(*notes));
}
