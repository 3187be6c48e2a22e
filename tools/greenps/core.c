/* SPDX-License-Identifier: MIT
 *
 * Reading a core file.  Memory that the kernel left out because it is the same in
 * the program's files is read from those.
 */
#include "core.h"
#include "escape.h"
#include "files.h"
#include "greenps.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX (1u << 20)
#define SPOOL_SIZE 65536
#define SPOOL_BLOCK 4096
#define NOTES_MAX ((size_t)256 << 20)

struct segment {
	uint64_t start, end, in_file; /* addresses; in_file: where the kept part ends */
	uint64_t offset;
};

struct core {
	char *path;
	int fd;
	uint64_t size;
	struct segment *segments; /* by address */
	size_t segments_count;
	struct core_thread *threads;
	size_t threads_count;
	uint64_t program; /* an address in it */
	int file_fd;      /* of the mapping read last from its file */
	const struct mapping *file;
};

static bool read_at(int fd, uint64_t offset, void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)buf + done, size - done, (off_t)(offset + done));
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* ---- reading ---------------------------------------------------------------- */

static const struct segment *segment_at(const struct core *core, uint64_t address)
{
	size_t low = 0, high = core->segments_count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (address >= core->segments[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	return low < core->segments_count && address >= core->segments[low].start
	               ? &core->segments[low]
	               : NULL;
}

/* The core says which: a device or a pipe is not opened for it. */
static void open_mapped_file(struct core *core, const struct mapping *m)
{
	if (core->file_fd >= 0)
		close(core->file_fd);
	core->file = m;
	core->file_fd = file_open_regular(m->path);
}

/* Up to size bytes from the file mapped there; 0: none. */
static size_t read_mapped_file(struct target *t, uint64_t address, void *buf, size_t size)
{
	struct core *core = t->core;
	const struct mapping *m = NULL;

	for (size_t i = 0; i < t->mappings_count && !m; i++)
		if (address >= t->mappings[i].start && address < t->mappings[i].end)
			m = &t->mappings[i];
	if (!m)
		return 0;
	if (m != core->file)
		open_mapped_file(core, m);
	if (core->file_fd < 0)
		return 0;
	if (size > m->end - address)
		size = m->end - address;
	return read_at(core->file_fd, m->offset + (address - m->start), buf, size) ? size : 0;
}

/* Up to size bytes; 0: nothing is known of that address. */
static size_t read_some(struct target *t, uint64_t address, void *buf, size_t size)
{
	struct core *core = t->core;
	const struct segment *s = segment_at(core, address);

	if (!s || address >= s->in_file)
		return read_mapped_file(t, address, buf, size);
	if (size > s->in_file - address)
		size = s->in_file - address;
	return read_at(core->fd, s->offset + (address - s->start), buf, size) ? size : 0;
}

bool core_read(struct target *t, uint64_t address, void *buf, size_t size)
{
	for (size_t done = 0; done < size;) {
		size_t n = read_some(t, address + done, (char *)buf + done, size - done);
		if (n == 0)
			return false;
		done += n;
	}
	return true;
}

const char *core_path(const struct core *core)
{
	return core->path;
}

int core_fd(const struct core *core)
{
	return core->fd;
}

const struct core_thread *core_thread(const struct core *core, pid_t tid)
{
	for (size_t i = 0; i < core->threads_count; i++)
		if (core->threads[i].tid == tid)
			return &core->threads[i];
	return NULL;
}

size_t core_program_head(const struct target *t, void *buf, size_t size)
{
	const struct core *core = t->core;

	for (size_t i = 0; i < t->mappings_count; i++) {
		const struct mapping *m = &t->mappings[i];
		const struct segment *s = segment_at(core, m->start);
		if (core->program < m->start || core->program >= m->end || m->offset || !s ||
		    m->start >= s->in_file)
			continue;
		if (size > s->in_file - m->start)
			size = s->in_file - m->start;
		return read_at(core->fd, s->offset + (m->start - s->start), buf, size) ? size : 0;
	}
	return 0;
}

/* ---- notes ------------------------------------------------------------------ */

#if defined(__x86_64__)
/* Where DWARF register n lies in the kernel's order (struct user_regs_struct). */
static const unsigned char dwarf_order[CORE_REGISTERS] = { 10, 12, 11, 5, 13, 14, 4, 19, 9,
	                                                   8,  7,  6,  3, 2,  1,  0, 16 };
#endif

static bool add_thread(struct core *core, const char *desc, size_t size)
{
	struct elf_prstatus status;

	if (size < sizeof(status))
		return true;
	memcpy(&status, desc, sizeof(status));
	struct core_thread *more =
		realloc(core->threads, (core->threads_count + 1) * sizeof(*more));
	if (!more)
		return false;
	core->threads = more;
	struct core_thread *thread = &more[core->threads_count++];
	thread->tid = status.pr_pid;
	for (unsigned i = 0; i < CORE_REGISTERS; i++)
		thread->registers[i] = status.pr_reg[dwarf_order[i]];
	return true;
}

/* NT_FILE: count, page size, then start, end and offset in pages of each mapping, then
 * their paths. */
static bool add_files(struct target *t, const char *desc, size_t size)
{
	uint64_t head[2], entry[3];

	if (size < sizeof(head))
		return true;
	memcpy(head, desc, sizeof(head));
	if (head[0] > (size - sizeof(head)) / sizeof(entry))
		return true;
	const char *entries = desc + sizeof(head), *end = desc + size;
	const char *path = entries + head[0] * sizeof(entry);
	for (uint64_t i = 0; i < head[0]; i++) {
		size_t length = strnlen(path, (size_t)(end - path));
		if (length == (size_t)(end - path))
			return true;
		memcpy(entry, entries + i * sizeof(entry), sizeof(entry));
		struct mapping m = { entry[0], entry[1], entry[2] * head[1], (char *)path };
		if (m.start < m.end && !target_add_mapping(t, &m))
			return false;
		path += length + 1;
	}
	return true;
}

/* Where the program's own headers lie. */
static void find_program(struct core *core, const char *desc, size_t size)
{
	Elf64_auxv_t entry;

	for (size_t at = 0; size - at >= sizeof(entry); at += sizeof(entry)) {
		memcpy(&entry, desc + at, sizeof(entry));
		if (entry.a_type == AT_PHDR)
			core->program = entry.a_un.a_val;
	}
}

static bool add_note(struct target *t, uint32_t type, const char *desc, size_t size)
{
	struct elf_prpsinfo info;

	switch (type) {
	case NT_PRSTATUS:
		return add_thread(t->core, desc, size);
	case NT_FILE:
		return add_files(t, desc, size);
	case NT_AUXV:
		find_program(t->core, desc, size);
		return true;
	case NT_PRPSINFO:
		if (size < sizeof(info))
			return true;
		memcpy(&info, desc, sizeof(info));
		t->pid = info.pr_pid;
		snprintf(t->program, sizeof(t->program), "%.*s", (int)sizeof(info.pr_fname),
		         info.pr_fname);
		return true;
	default:
		return true;
	}
}

/* False: no memory. */
static bool walk_notes(struct target *t, const char *notes, size_t size)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		memcpy(&n, notes, sizeof(n));
		size_t name = ((size_t)n.n_namesz + 3) & ~(size_t)3;
		size_t desc = ((size_t)n.n_descsz + 3) & ~(size_t)3;
		if (name > size - sizeof(n) || n.n_descsz > size - sizeof(n) - name)
			return true;
		const char *at = notes + sizeof(n);
		if (n.n_namesz == 5 && memcmp(at, "CORE", 5) == 0 &&
		    !add_note(t, n.n_type, at + name, n.n_descsz))
			return false;
		if (desc > size - sizeof(n) - name)
			return true;
		notes += sizeof(n) + name + desc;
		size -= sizeof(n) + name + desc;
	}
	return true;
}

static bool read_notes(struct target *t, const Elf64_Phdr *p)
{
	if (p->p_filesz > NOTES_MAX)
		return true;
	char *notes = malloc(p->p_filesz + 1);
	if (!notes)
		return false;
	bool ok = !read_at(t->core->fd, p->p_offset, notes, p->p_filesz) ||
	          walk_notes(t, notes, p->p_filesz);
	free(notes);
	return ok;
}

/* ---- opening ---------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_segment(struct core *core, const Elf64_Phdr *p)
{
	uint64_t kept = p->p_filesz, end = p->p_vaddr + p->p_memsz;

	if (end <= p->p_vaddr)
		return;
	if (kept > p->p_memsz)
		kept = p->p_memsz;
	if (p->p_offset >= core->size)
		kept = 0;
	else if (kept > core->size - p->p_offset)
		kept = core->size - p->p_offset; /* a core cut short */
	core->segments[core->segments_count++] = (struct segment){
		.start = p->p_vaddr,
		.end = end,
		.in_file = p->p_vaddr + kept,
		.offset = p->p_offset,
	};
}

/* How many program headers; more than 65,534 are counted in the first section header. */
static uint64_t headers_count(const struct core *core, const Elf64_Ehdr *e)
{
	Elf64_Shdr first;

	if (e->e_phnum != PN_XNUM)
		return e->e_phnum;
	return read_at(core->fd, e->e_shoff, &first, sizeof(first)) ? first.sh_info : 0;
}

static int read_headers(struct target *t, const Elf64_Ehdr *e)
{
	struct core *core = t->core;
	uint64_t count = headers_count(core, e);
	int status = EXIT_OK;

	if (count == 0 || count > SEGMENTS_MAX || e->e_phentsize != sizeof(Elf64_Phdr))
		return problem("%s: a core file without usable program headers", core->path);
	Elf64_Phdr *p = malloc(count * sizeof(*p));
	core->segments = calloc(count, sizeof(*core->segments));
	if (!p || !core->segments)
		status = problem("no memory");
	else if (!read_at(core->fd, e->e_phoff, p, count * sizeof(*p)))
		status = problem("%s: a core file that is cut short", core->path);
	for (uint64_t i = 0; status == EXIT_OK && i < count; i++) {
		if (p[i].p_type == PT_LOAD)
			add_segment(core, &p[i]);
		else if (p[i].p_type == PT_NOTE && !read_notes(t, &p[i]))
			status = problem("no memory");
	}
	if (core->segments)
		qsort(core->segments, core->segments_count, sizeof(*core->segments), by_address);
	free(p);
	return status;
}

/* Less than size bytes only at the end; -1: errno. */
static ssize_t read_full(int fd, char *buf, size_t size)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < size && (n = read(fd, buf + done, size - done)) > 0)
		done += (size_t)n;
	return n < 0 ? -1 : (ssize_t)done;
}

/* Standard input may be a pipe: what comes goes to a file that has no name, without the
 * zeroes that a core file is mostly made of.  0 or errno. */
static int spool(int from, FILE *to)
{
	static char buf[SPOOL_SIZE];
	static const char zeros[SPOOL_BLOCK];
	off_t size = 0;
	ssize_t n;

	while ((n = read_full(from, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n; at += SPOOL_BLOCK) {
			size_t part = (size_t)(n - at < SPOOL_BLOCK ? n - at : SPOOL_BLOCK);
			errno = 0;
			if (memcmp(buf + at, zeros, part) != 0 &&
			    pwrite(fileno(to), buf + at, part, size + at) != (ssize_t)part)
				return errno ? errno : ENOSPC;
		}
		size += n;
	}
	return n == 0 && ftruncate(fileno(to), size) == 0 ? 0 : errno;
}

static int open_input(struct core *core)
{
	core->path = strdup("standard input");
	if (!core->path)
		return problem("no memory");
	FILE *file = tmpfile();
	int error = file ? spool(0, file) : errno;
	if (file && error == 0) {
		core->fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
		error = core->fd < 0 ? errno : 0;
	}
	core->size = core->fd < 0 ? 0 : (uint64_t)lseek(core->fd, 0, SEEK_END);
	if (file)
		fclose(file);
	return error ? problem("a copy of standard input: %s", strerror(error)) : EXIT_OK;
}

/* A regular file, opened, and its size known. */
static int open_file(struct core *core, const char *path)
{
	struct stat st;
	char shown[512];

	core->path = strdup(escape_text(shown, sizeof(shown), path, false));
	core->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (!core->path)
		return problem("no memory");
	if (core->fd < 0 || fstat(core->fd, &st) != 0)
		return problem("%s: %s", core->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return problem("%s: neither the number of a process nor a core file", core->path);
	core->size = (uint64_t)st.st_size;
	return EXIT_OK;
}

int target_open_core(struct target *t, const char *path, const char *executable)
{
	Elf64_Ehdr e;

	memset(t, 0, sizeof(*t));
	t->memory = -1;
	t->executable = executable;
	t->core = calloc(1, sizeof(*t->core));
	if (!t->core)
		return problem("no memory");
	t->core->fd = t->core->file_fd = -1;
	int status = strcmp(path, "-") == 0 ? open_input(t->core) : open_file(t->core, path);
	if (status != EXIT_OK)
		return status;
	if (!read_at(t->core->fd, 0, &e, sizeof(e)) || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
	    e.e_type != ET_CORE)
		return problem("%s: not a core file", t->core->path);
	if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_ident[EI_DATA] != ELFDATA2LSB ||
	    e.e_machine != EM_X86_64)
		return problem("%s: a core file of another kind of machine", t->core->path);
	return read_headers(t, &e);
}

void core_close(struct core *core)
{
	if (!core)
		return;
	if (core->fd >= 0)
		close(core->fd);
	if (core->file_fd >= 0)
		close(core->file_fd);
	free(core->segments);
	free(core->threads);
	free(core->path);
	free(core);
}
