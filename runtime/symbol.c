/* SPDX-License-Identifier: MIT
 *
 * From an address to a file (the kernel's list of mappings) and on to a
 * function (the file's ELF symbol table).
 */
#include "symbol.h"
#include "arch/sys.h"
#include "lines.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- which file ------------------------------------------------------------- */

struct place {                   /* what the address is part of */
	uintptr_t start, offset; /* of the mapping; of its start in the file */
	char path[256];
};

/* "start-end perms offset device inode   path": fills *place if address lies
 * in there. */
static bool parse_mapping(const char *line, uintptr_t address, struct place *place)
{
	uintptr_t start = lines_hex(&line);
	if (*line++ != '-')
		return false;
	uintptr_t end = lines_hex(&line);
	if (address < start || address >= end)
		return false;
	if (strnlen(line, 6) < 6)
		return false;
	line += 6; /* " rwxp " */
	place->start = start;
	place->offset = lines_hex(&line);
	for (int field = 0; field < 2; field++) {
		line += strspn(line, " ");
		line += strcspn(line, " ");
	}
	line += strspn(line, " ");
	place->path[0] = 0;
	strncat(place->path, line, sizeof(place->path) - 1);
	return true;
}

static bool find_place(uintptr_t address, struct place *place)
{
	struct lines lines;
	char line[384];
	bool found = false;

	if (!lines_open(&lines, "/proc/self/maps"))
		return false;
	while (!found && lines_next(&lines, line, sizeof(line)))
		found = parse_mapping(line, address, place);
	lines_close(&lines);
	return found && place->path[0];
}

/* ---- which function --------------------------------------------------------- */

static void forget_image(struct symbols *s)
{
	if (s->image)
		sys2(SYS_munmap, s->image, s->size);
	s->image = NULL;
	s->path[0] = 0;
}

static void map_image(struct symbols *s, const char *path)
{
	struct stat st;
	long r = -1;

	if (strcmp(s->path, path) == 0)
		return;
	forget_image(s);
	strcpy(s->path, path); /* of the same size */
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sys2(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		r = sys6(SYS_mmap, NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	sys1(SYS_close, fd);
	if (r < 0 && r > -4096)
		return;
	s->image = (const char *)r;
	s->size = (size_t)st.st_size;
}

/* count things of each bytes at offset, if the file is long enough. */
static const void *part(const struct symbols *s, uint64_t offset, uint64_t count, uint64_t each)
{
	if (offset > s->size || (each && count > (s->size - offset) / each))
		return NULL;
	return s->image + offset;
}

static const Elf64_Ehdr *elf_header(const struct symbols *s)
{
	const Elf64_Ehdr *e = s->image ? part(s, 0, 1, sizeof(*e)) : NULL;

	if (!e || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->e_phentsize != sizeof(Elf64_Phdr) ||
	    (e->e_shnum && e->e_shentsize != sizeof(Elf64_Shdr)))
		return NULL;
	return e;
}

/* The address by which the file itself knows the byte at offset. */
static bool link_address(const struct symbols *s, const Elf64_Ehdr *e, uint64_t offset,
                         uint64_t *address)
{
	const Elf64_Phdr *p = part(s, e->e_phoff, e->e_phnum, sizeof(*p));

	for (unsigned i = 0; p && i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && offset >= p[i].p_offset &&
		    offset - p[i].p_offset < p[i].p_filesz) {
			*address = offset - p[i].p_offset + p[i].p_vaddr;
			return true;
		}
	return false;
}

static const Elf64_Shdr *symbol_section(const struct symbols *s, const Elf64_Ehdr *e,
                                        const Elf64_Shdr **sections)
{
	const Elf64_Shdr *all = part(s, e->e_shoff, e->e_shnum, sizeof(*all)), *found = NULL;

	for (unsigned i = 0; all && i < e->e_shnum; i++)
		if (all[i].sh_type == SHT_SYMTAB || (all[i].sh_type == SHT_DYNSYM && !found))
			found = &all[i];
	*sections = all;
	return found && found->sh_link < e->e_shnum ? found : NULL;
}

/* The function around the address, and how far into it that is. */
static const char *function_at(const struct symbols *s, const Elf64_Ehdr *e, uint64_t address,
                               uint64_t *into)
{
	const Elf64_Shdr *all, *table = symbol_section(s, e, &all);

	if (!table)
		return NULL;
	const Elf64_Shdr *names = &all[table->sh_link];
	uint64_t count = table->sh_size / sizeof(Elf64_Sym);
	const Elf64_Sym *sym = part(s, table->sh_offset, count, sizeof(*sym));
	const char *text = part(s, names->sh_offset, names->sh_size, 1);
	if (!sym || !text || !names->sh_size || text[names->sh_size - 1])
		return NULL;
	for (uint64_t i = 0; i < count; i++)
		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_shndx != SHN_UNDEF &&
		    address - sym[i].st_value < sym[i].st_size && sym[i].st_name < names->sh_size) {
			*into = address - sym[i].st_value;
			return text + sym[i].st_name;
		}
	return NULL;
}

/* The function's name, NULL if only the file is known; false: not even that. */
static bool look_up(struct symbols *s, uintptr_t address, struct place *place,
                    const char **function, uint64_t *into)
{
	uint64_t linked;

	if (!find_place(address, place))
		return false;
	*into = address - place->start + place->offset;
	*function = NULL;
	if (place->path[0] != '/')
		return true;
	map_image(s, place->path);
	const Elf64_Ehdr *e = elf_header(s);
	if (e && link_address(s, e, *into, &linked)) {
		*into = linked;
		*function = function_at(s, e, linked, into);
	}
	return true;
}

/* ---- for reports ------------------------------------------------------------ */

void symbols_begin(struct symbols *s)
{
	s->image = NULL;
	s->path[0] = 0;
}

void symbols_end(struct symbols *s)
{
	forget_image(s);
}

bool symbol_name(struct symbols *s, const void *address, char *buf, size_t size)
{
	struct place place;
	const char *function = NULL;
	uint64_t into;

	buf[0] = 0;
	if (!look_up(s, (uintptr_t)address, &place, &function, &into) || !function)
		return false;
	strncat(buf, function, size - 1);
	return true;
}

void symbol_report(struct symbols *s, struct report *r, const void *address, bool is_return)
{
	struct place place;
	const char *function = NULL;
	uint64_t into;

	if (!look_up(s, (uintptr_t)address - is_return, &place, &function, &into)) {
		report_hex(r, address);
		return;
	}
	const char *slash = strrchr(place.path, '/');
	const char *file = slash ? slash + 1 : place.path;
	report_str(r, function ? function : file);
	report_str(r, "+");
	report_hex(r, (void *)(uintptr_t)(into + is_return));
	if (function) {
		report_str(r, " (");
		report_str(r, file);
		report_str(r, ")");
	}
}
