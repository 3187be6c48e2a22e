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
#include "modules.h"
#include "room.h"
#include "source.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
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
	struct symbols *y = calloc(1, sizeof(*y));

	if (y) {
		y->s = s;
		y->cache = calloc(CACHE, sizeof(*y->cache));
		y->copy = malloc(COPY_MAX);
		y->dwfl = modules_open(s->t);
	}
	if (!y || !y->cache || !y->copy || !y->dwfl) {
		complain("no memory for symbols");
		symbols_close(y);
		return NULL;
	}
	/* Without modules there are numbers instead of names, and that is all. */
	if (modules_report(y->dwfl, s->t, &y->core))
		attach(y);
	return y;
}

void symbols_close(struct symbols *y)
{
	if (!y)
		return;
	if (y->dwfl)
		modules_close(y->dwfl, y->s->t);
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

/* A name in a symbol table need not end where that does, and libdwfl does not look.  What lies
 * behind is read by the kernel, as there may be nothing. */
static void copy_name(char *to, size_t size, const char *from)
{
	size_t page = 4096, first = page - ((uintptr_t)from & (page - 1));
	struct iovec whole = { to, size - 1 };
	struct iovec parts[] = { { (void *)(uintptr_t)from, first < size - 1 ? first : size - 1 },
		                 { (void *)((uintptr_t)from + first), 0 } };

	parts[1].iov_len = size - 1 - parts[0].iov_len;
	ssize_t n = process_vm_readv(getpid(), &whole, 1, parts, 2, 0);
	if (n < 0 && errno != EFAULT) { /* forbidden */
		n = (ssize_t)strnlen(from, size - 1);
		memcpy(to, from, (size_t)n);
	}
	to[n > 0 ? n : 0] = 0;
}

static const char *last_part(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash && slash[1] ? slash + 1 : path;
}

static void find_source(Dwfl_Module *module, uint64_t address, struct symbol *symbol)
{
	int number;
	const char *path = source_of(module, address, &number);

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
		copy_name(symbol->function, sizeof(symbol->function), function);
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

#define NAME_MAX_BYTES 8192

static bool is_called(const char *name, const char *wanted)
{
	static char whole[NAME_MAX_BYTES];

	if (*name != *wanted)
		return false;
	copy_name(whole, sizeof(whole), name);
	return strcmp(whole, wanted) == 0;
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
		    sym.st_shndx == SHN_UNDEF || !is_called(function, wanted->function))
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
