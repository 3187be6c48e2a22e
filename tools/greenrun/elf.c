/* SPDX-License-Identifier: MIT
 *
 * Which programs greenrun refuses by their ELF file: of another machine, without a
 * dynamic linker, with another libc's, made by Go.
 */
#include "elf.h"
#include "greenrun.h"

#include <elf.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENTS_MAX 256
#define NOTES_MAX (64 * 1024)
#define LINKER_OF_GLIBC "ld-linux-x86-64.so"

static bool read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	return pread(fd, buffer, size, (off_t)offset) == (ssize_t)size;
}

bool elf_is(int fd)
{
	unsigned char ident[EI_NIDENT];

	return read_at(fd, ident, sizeof(ident), 0) && memcmp(ident, ELFMAG, SELFMAG) == 0;
}

/* ---- what is refused -------------------------------------------------------- */

static int refuse(const char *path, const char *what, const char *remedy)
{
	return problem(EXIT_REFUSED, "%s %s.\n%s", path, what, remedy);
}

static int refuse_machine(const char *path, const Elf64_Ehdr *head)
{
	if (head->e_ident[EI_CLASS] != ELFCLASS64)
		return refuse(path,
		              head->e_machine == EM_X86_64 ? "is made for x32"
		                                           : "is a 32-bit program",
		              "Run the 64-bit one of it");
	return refuse(path, "is made for another CPU than x86-64",
	              "greenrun knows the system calls of x86-64 only");
}

static int refuse_static(const char *path)
{
	return refuse(
		path, "is statically linked: nothing can be loaded into it",
		"Link it dynamically, without -static and -static-pie, or link it with libgreen");
}

static int refuse_linker(const char *path, const char *linker)
{
	char what[PATH_MAX + 64];

	if (strstr(linker, "ld-musl"))
		return refuse(path, "uses musl: its threads are not glibc's",
		              "Run one that was linked with glibc");
	snprintf(what, sizeof(what), "is loaded by %s, not by glibc's dynamic linker", linker);
	return refuse(path, what, "Run one that was linked with glibc");
}

static int refuse_go(const char *path)
{
	return refuse(path, "is a Go program: it has green threads of its own, without libc",
	              "Run it as it is");
}

/* ---- reading ---------------------------------------------------------------- */

/* Notes of a segment, which may be many: is there one of this owner? */
static bool notes_have(const char *notes, size_t size, const char *owner)
{
	size_t at = 0, length = strlen(owner) + 1;

	while (at + sizeof(Elf64_Nhdr) <= size) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note);
		if (note.n_namesz >= length && at + length <= size &&
		    memcmp(notes + at, owner, length) == 0)
			return true;
		at += ((size_t)note.n_namesz + 3) & ~(size_t)3;
		at += ((size_t)note.n_descsz + 3) & ~(size_t)3;
	}
	return false;
}

static bool segment_notes_have(int fd, const Elf64_Phdr *segment, const char *owner)
{
	size_t size = segment->p_filesz < NOTES_MAX ? segment->p_filesz : NOTES_MAX;
	char *notes = malloc(size + 1);
	bool have = notes && read_at(fd, notes, size, segment->p_offset) &&
	            notes_have(notes, size, owner);

	free(notes);
	return have;
}

/* The dynamic linker, run as a program, has none itself, and loads its argument. */
static bool is_linker(const char *path)
{
	char *real = realpath(path, NULL);
	const char *name = real ? strrchr(real, '/') : NULL;
	bool is = name && strncmp(name + 1, LINKER_OF_GLIBC, strlen(LINKER_OF_GLIBC)) == 0;

	free(real);
	return is;
}

static int check_segments(int fd, const char *path, const Elf64_Phdr *segments, size_t count)
{
	char linker[PATH_MAX] = "";
	const char *name;

	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *s = &segments[i];
		if (s->p_type == PT_NOTE && segment_notes_have(fd, s, "Go"))
			return refuse_go(path);
		if (s->p_type == PT_INTERP && s->p_filesz && s->p_filesz < sizeof(linker) &&
		    read_at(fd, linker, s->p_filesz, s->p_offset))
			linker[s->p_filesz] = 0;
	}
	if (!*linker)
		return is_linker(path) ? 0 : refuse_static(path);
	name = strrchr(linker, '/');
	name = name ? name + 1 : linker;
	if (strncmp(name, LINKER_OF_GLIBC, strlen(LINKER_OF_GLIBC)) != 0)
		return refuse_linker(path, linker);
	return 0;
}

int elf_check(int fd, const char *path)
{
	Elf64_Phdr segments[SEGMENTS_MAX];
	Elf64_Ehdr head = { 0 };

	/* A 32-bit header is shorter; its first fields lie where those of the other do. */
	if (pread(fd, &head, sizeof(head), 0) < (ssize_t)sizeof(Elf32_Ehdr))
		return problem(EXIT_REFUSED, "%s is cut off: not even its header is whole", path);
	if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB ||
	    head.e_machine != EM_X86_64)
		return refuse_machine(path, &head);
	if (head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum > SEGMENTS_MAX ||
	    !read_at(fd, segments, head.e_phnum * sizeof(Elf64_Phdr), head.e_phoff))
		return problem(EXIT_REFUSED, "%s: its ELF headers cannot be read", path);
	return check_segments(fd, path, segments, head.e_phnum);
}
