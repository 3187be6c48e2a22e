/* SPDX-License-Identifier: MIT
 *
 * Symbols and call paths by libdwfl.
 *
 * A stack is copied first, and the thread looked at again: if it has moved on in
 * between, the copy is taken anew.  Unwinding works on the copy.
 */
#include "symbols.h"
#include "asleep.h"
#include "core.h"
#include "greenps.h"
#include "room.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE ROOM(4096) /* addresses remembered */
#define COPY_MAX ((size_t)ROOM(1 << 20))
#define LOOKS 4
#define SP_NUMBER 7 /* of x86-64, by DWARF */

struct known {
	uint64_t address;
	bool is_return, used;
	struct symbol symbol;
};

struct symbols {
	struct snapshot *s;
	Dwfl *dwfl;
	Elf *core;
	bool attached;
	struct known *cache;
	/* The stack that is being unwound. */
	char *copy;
	uint64_t copy_low;
	size_t copy_size;
	bool copy_only; /* the thread has gone on: what else is in memory is of later */
	Dwarf_Word registers[LAYOUT_REGISTERS];
	bool has[LAYOUT_REGISTERS];
	uint64_t pc;
	struct frame *frames;
	size_t frames_count;
};

/* ---- opening ---------------------------------------------------------------- */

/* The file by the mapping itself, which may be of a file that has been deleted, or by its
 * path as the process sees it, which may be in a container. */
static int open_mapped(const struct target *t, const struct mapping *m)
{
	char path[64 + 4096];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)t->pid,
	         m->start, m->end);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d/root%s", (int)t->pid, m->path);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static int find_elf(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base, char **file,
                    Elf **elf)
{
	const struct target *t = *arg;

	for (size_t i = 0; t && i < t->mappings_count; i++) {
		if (t->mappings[i].start != base)
			continue;
		int fd = open_mapped(t, &t->mappings[i]);
		if (fd < 0)
			break;
		*file = strdup(name);
		return fd;
	}
	return dwfl_linux_proc_find_elf(module, arg, name, base, file, elf);
}

static bool is_no_file(const char *directory, int size, const char *below, const char *name)
{
	struct stat st;
	char *path;

	if (asprintf(&path, "%.*s%s%s", size, directory, below, name) < 0)
		return true;
	bool it_is = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	free(path);
	return it_is;
}

/* Beside a file its debug information may lie, by a name that stands in the file or follows
 * from its own.  Both are its owner's doing: libdwfl would wait at a pipe. */
static bool is_trap(const char *file, const char *debuglink)
{
	const char *slash = file ? strrchr(file, '/') : NULL;
	char *name;

	if (!slash)
		return false;
	if (asprintf(&name, "%s%s", debuglink ? debuglink : slash + 1, debuglink ? "" : ".debug") <
	    0)
		return true;
	int size = (int)(slash + 1 - file);
	bool it_is = is_no_file(file, size, "", name) || is_no_file(file, size, ".debug/", name);
	free(name);
	return it_is;
}

static bool is_elf(int fd)
{
	char magic[SELFMAG];

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int find_debuginfo(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base,
                          const char *file, const char *debuglink, GElf_Word crc, char **found)
{
	if (debuglink && (!*debuglink || strchr(debuglink, '/')))
		debuglink = NULL;
	if (is_trap(file, debuglink))
		return -1;
	int fd = dwfl_standard_find_debuginfo(module, arg, name, base, file, debuglink,
	                                      debuglink ? crc : 0, found);
	if (fd < 0 || is_elf(fd))
		return fd;
	/* libdwfl would forget its name. */
	close(fd);
	free(*found);
	*found = NULL;
	return -1;
}

/* An object file that the process has mapped, for whatever reason: its sections are nowhere.
 * libdwfl calls this without looking whether it is there. */
static int no_section_address(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base,
                              const char *section, GElf_Word number, const GElf_Shdr *header,
                              Dwarf_Addr *address)
{
	(void)module;
	(void)arg;
	(void)name;
	(void)base;
	(void)section;
	(void)number;
	(void)header;
	(void)address;
	return -1;
}

/* What find_elf() gets for its arg. */
static int tell_target(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                       void *target)
{
	(void)module;
	(void)name;
	(void)base;
	*userdata = target;
	return DWARF_CB_OK;
}

/* The auxiliary vector, where libdw looks for the vdso, can be read by the process's user
 * alone; the mappings by all who may trace it. */
static int report_process(struct symbols *y, pid_t pid)
{
	int error = dwfl_linux_proc_report(y->dwfl, pid);
	char path[64];

	if (error != EACCES)
		return error;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	if (!maps)
		return errno;
	error = dwfl_linux_proc_maps_report(y->dwfl, maps);
	fclose(maps);
	return error;
}

static int report_modules(struct symbols *y)
{
	struct target *t = y->s->t;

	if (!t->core)
		return report_process(y, t->pid);
	elf_version(EV_CURRENT);
	y->core = elf_begin(core_fd(t->core), ELF_C_READ_MMAP, NULL);
	return y->core && dwfl_core_file_report(y->dwfl, y->core, t->executable) >= 0 ? 0 : -1;
}

/* Registers of a thread that unwinding needs are set here. */
static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	struct symbols *y = arg;

	for (int i = 0; i < LAYOUT_REGISTERS; i++)
		if (y->has[i] && !dwfl_thread_state_registers(thread, i, 1, &y->registers[i]))
			return false;
	dwfl_thread_state_register_pc(thread, y->pc);
	return true;
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *word, void *arg)
{
	struct symbols *y = arg;
	(void)dwfl;

	*word = 0;
	if (address >= y->copy_low && address - y->copy_low < y->copy_size &&
	    y->copy_size - (address - y->copy_low) >= sizeof(*word)) {
		memcpy(word, y->copy + (address - y->copy_low), sizeof(*word));
		return true;
	}
	return !y->copy_only && asleep_read(y->s, address, word, sizeof(*word));
}

/* There is always the one that is being unwound. */
static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	if (*thread_arg)
		return 0;
	*thread_arg = arg;
	return 1;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
	(void)dwfl;
	(void)tid;
	*thread_arg = arg;
	return true;
}

static void attach(struct symbols *y)
{
	static const Dwfl_Thread_Callbacks callbacks = {
		.next_thread = next_thread,
		.get_thread = get_thread,
		.memory_read = read_word,
		.set_initial_registers = set_registers,
	};

	/* The number is one of libdwfl's own book-keeping only. */
	y->attached = dwfl_attach_state(y->dwfl, NULL, 1, &callbacks, y);
}

struct symbols *symbols_open(struct snapshot *s)
{
	static char *debuginfo_path;
	static const Dwfl_Callbacks of_process = {
		.find_elf = find_elf,
		.find_debuginfo = find_debuginfo,
		.section_address = no_section_address,
		.debuginfo_path = &debuginfo_path,
	};
	static const Dwfl_Callbacks of_core = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = find_debuginfo,
		.section_address = no_section_address,
		.debuginfo_path = &debuginfo_path,
	};
	struct symbols *y = calloc(1, sizeof(*y));

	if (y) {
		y->s = s;
		y->cache = calloc(CACHE, sizeof(*y->cache));
		y->copy = malloc(COPY_MAX);
		y->dwfl = dwfl_begin(s->t->core ? &of_core : &of_process);
	}
	if (!y || !y->cache || !y->copy || !y->dwfl) {
		complain("no memory for symbols");
		symbols_close(y);
		return NULL;
	}
	dwfl_report_begin(y->dwfl);
	int r = report_modules(y);
	/* Without modules there are numbers instead of names, and that is all. */
	if (dwfl_report_end(y->dwfl, NULL, NULL) != 0 || r != 0)
		return y;
	if (!s->t->core)
		dwfl_getmodules(y->dwfl, tell_target, s->t, 0);
	attach(y);
	return y;
}

void symbols_close(struct symbols *y)
{
	if (!y)
		return;
	if (y->dwfl)
		dwfl_end(y->dwfl);
	if (y->core)
		elf_end(y->core);
	free(y->copy);
	free(y->cache);
	free(y);
}

/* ---- names ------------------------------------------------------------------ */

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static const char *last_part(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash && slash[1] ? slash + 1 : path;
}

static void find_source(Dwfl_Module *module, uint64_t address, struct symbol *symbol)
{
	Dwfl_Line *line = dwfl_module_getsrc(module, address);
	int number;
	const char *path = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;

	if (path)
		snprintf(symbol->source, sizeof(symbol->source), "%s:%d", last_part(path), number);
}

static void find_symbol(Dwfl *dwfl, uint64_t address, bool is_return, struct symbol *symbol)
{
	uint64_t inside = address - is_return;
	Dwfl_Module *module = dwfl_addrmodule(dwfl, inside);
	Dwarf_Addr start = 0;
	GElf_Addr bias;
	GElf_Off into = 0;
	GElf_Sym sym;
	const char *main_file;

	memset(symbol, 0, sizeof(*symbol));
	if (!module)
		return;
	const char *name =
		dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, &main_file, NULL);
	copy_text(symbol->file, sizeof(symbol->file), last_part(main_file ? main_file : name));
	char *deleted = strstr(symbol->file, " (deleted)");
	if (deleted)
		*deleted = 0;
	const char *function = dwfl_module_addrinfo(module, inside, &into, &sym, NULL, NULL, NULL);
	if (function) {
		copy_text(symbol->function, sizeof(symbol->function), function);
		symbol->into = into + is_return;
	} else {
		/* As addr2line wants it; without the file it is a guess. */
		symbol->into = address - (dwfl_module_getelf(module, &bias) ? bias : start);
	}
	find_source(module, inside, symbol);
}

const struct symbol *symbol_at(struct symbols *y, uint64_t address, bool is_return)
{
	uint64_t hash = (address + is_return) * 0x9e3779b97f4a7c15u;
	struct known *known = &y->cache[(hash >> 32) % CACHE];

	if (!known->used || known->address != address || known->is_return != is_return) {
		known->address = address;
		known->is_return = is_return;
		known->used = true;
		find_symbol(y->dwfl, address, is_return, &known->symbol);
	}
	return &known->symbol;
}

struct wanted {
	const char *function;
	uint64_t start, end;
};

static int look_for(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                    void *arg)
{
	struct wanted *wanted = arg;
	int count = dwfl_module_getsymtab(module);
	GElf_Addr address;
	GElf_Sym sym;
	(void)userdata;
	(void)name;
	(void)base;

	for (int i = 1; i < count; i++) {
		const char *function =
			dwfl_module_getsym_info(module, i, &sym, &address, NULL, NULL, NULL);
		if (!function || GELF_ST_TYPE(sym.st_info) != STT_FUNC || sym.st_size == 0 ||
		    sym.st_shndx == SHN_UNDEF || strcmp(function, wanted->function) != 0)
			continue;
		wanted->start = address;
		wanted->end = address + sym.st_size;
		return DWARF_CB_ABORT;
	}
	return DWARF_CB_OK;
}

bool symbol_find(struct symbols *y, const char *function, uint64_t *start, uint64_t *end)
{
	struct wanted wanted = { .function = function };

	dwfl_getmodules(y->dwfl, look_for, &wanted, 0);
	*start = wanted.start;
	*end = wanted.end;
	return wanted.end > 0;
}

/* ---- call paths ------------------------------------------------------------- */

static int keep_frame(Dwfl_Frame *state, void *arg)
{
	struct symbols *y = arg;
	Dwarf_Addr pc;
	bool activation;

	if (!dwfl_frame_pc(state, &pc, &activation) || y->frames_count == FRAMES_MAX)
		return DWARF_CB_ABORT;
	/* The innermost frame of a parked thread is one that called the switch. */
	bool is_return = y->frames_count ? !activation : !y->has[LAYOUT_REGISTERS - 1];
	y->frames[y->frames_count++] = (struct frame){ pc, is_return };
	return DWARF_CB_OK;
}

/* True when there is a saved context on it. */
static bool copy_stack(struct symbols *y, uint64_t sp, const struct stack_view *v)
{
	y->copy_low = sp;
	y->copy_size = 0;
	if (v->top - sp > COPY_MAX)
		return false;
	y->copy_size = v->top - sp;
	return asleep_read_stack(y->s, v, sp, y->copy) &&
	       layout_get(y->copy, y->s->layout.frame_pc);
}

/* The registers in the saved context at the start of the copy. */
static void load_saved(struct symbols *y, uint64_t sp)
{
	const struct layout *l = &y->s->layout;

	for (unsigned i = 0; i < LAYOUT_REGISTERS; i++) {
		y->has[i] = l->registers[i].size > 0;
		if (y->has[i])
			y->registers[i] = layout_get(y->copy, l->registers[i]);
	}
	if (l->frame_sp_number.value < LAYOUT_REGISTERS - 1) {
		y->has[l->frame_sp_number.value] = true;
		y->registers[l->frame_sp_number.value] = sp + l->frame.size;
	}
	y->pc = layout_get(y->copy, l->frame_pc);
}

static const char *no_copy(const struct symbols *y)
{
	if (y->s->t->gone)
		return "the process has ended";
	return y->s->t->core ? "the core has no memory of it (gdb's own gcore leaves stacks out, "
	                       "its command green-gcore does not)"
	                     : "its stack cannot be read";
}

/* A copy of the stack of a thread that stood still meanwhile. */
static const char *capture_saved(struct symbols *y, const struct thread *thread)
{
	struct thread now = *thread, again;
	struct stack_view v;
	uint32_t index = snapshot_index(y->s, thread->id);
	bool copied = false;

	for (int i = 0; i < LOOKS; i++) {
		if (!snapshot_is_saved(y->s, &now))
			return "it runs";
		copied = snapshot_stack(y->s, &now, &v) && copy_stack(y, now.sp, &v);
		if (y->s->t->core || y->s->t->gone)
			break;
		if (!snapshot_look(y->s, index, &again) || again.id != thread->id)
			return y->s->t->gone ? "the process has ended" : "it has ended";
		if (copied && again.sp == now.sp && again.park == now.park &&
		    again.state == now.state && again.stack == now.stack)
			break;
		if (i == LOOKS - 1 && copied)
			return "it never kept still";
		now = again;
	}
	if (!copied)
		return no_copy(y);
	load_saved(y, now.sp);
	return NULL;
}

/* Of one that runs: a core file has the registers of the worker's OS thread. */
static const char *capture_running(struct symbols *y, const struct worker_view *w)
{
	const struct core_thread *thread =
		y->s->t->core ? core_thread(y->s->t->core, w->tid) : NULL;

	_Static_assert(CORE_REGISTERS == LAYOUT_REGISTERS, "both go by DWARF numbers");
	if (!thread)
		return y->s->t->core ? "it runs, and the core has no registers of its worker"
		                     : "it runs: its registers are in the CPU";
	for (unsigned i = 0; i < CORE_REGISTERS; i++) {
		y->has[i] = true;
		y->registers[i] = thread->registers[i];
	}
	y->pc = thread->registers[CORE_REGISTERS - 1];
	y->copy_size = 0;
	return NULL;
}

size_t stack_walk(struct symbols *y, const struct thread *thread, struct frame *frames,
                  const char **why)
{
	const struct worker_view *w = snapshot_runs_on(y->s, thread);
	struct stack_view v;

	*why = NULL;
	if (thread->foreign)
		*why = "an OS thread: a debugger shows its stack";
	else if (!y->attached)
		*why = "the program's files cannot be read";
	else if (w && !thread->hibernated)
		*why = capture_running(y, w);
	else if (!snapshot_stack(y->s, thread, &v))
		*why = "it has no stack";
	else
		*why = capture_saved(y, thread);
	if (*why)
		return 0;
	y->frames = frames;
	y->frames_count = 0;
	dwfl_getthread_frames(y->dwfl, 1, keep_frame, y);
	if (y->frames_count == 0)
		*why = "it cannot be unwound";
	return y->frames_count;
}

size_t stack_walk_copy(struct symbols *y, const uint64_t registers[LAYOUT_REGISTERS],
                       const char *stack, size_t size, struct frame *frames)
{
	if (!y->attached || size > COPY_MAX)
		return 0;
	for (unsigned i = 0; i < LAYOUT_REGISTERS; i++) {
		y->has[i] = true;
		y->registers[i] = registers[i];
	}
	y->pc = registers[LAYOUT_REGISTERS - 1];
	memcpy(y->copy, stack, size);
	y->copy_low = registers[SP_NUMBER];
	y->copy_size = size;
	y->frames = frames;
	y->frames_count = 0;
	y->copy_only = true;
	dwfl_getthread_frames(y->dwfl, 1, keep_frame, y);
	y->copy_only = false;
	return y->frames_count;
}
