/* SPDX-License-Identifier: MIT
 *
 * The descriptor for outside readers can be found from the ELF note, and says the
 * truth: what it leads to is what the runtime itself sees.
 */
#include "harness.h"

#include "arch/switch.h"
#include "arena.h"
#include "descriptor.h"
#include "mutex.h"

#include <elf.h>
#include <link.h>

/* ---- the note ---------------------------------------------------------------- */

static uintptr_t found;
static int notes;

static void look_at_note(const Elf64_Nhdr *n)
{
	const char *name = (const char *)(n + 1), *desc = name + ((n->n_namesz + 3) & ~3u);
	struct descriptor_note note;
	int64_t distance;

	if (n->n_namesz != sizeof(DESCRIPTOR_NOTE) ||
	    memcmp(name, DESCRIPTOR_NOTE, n->n_namesz) != 0)
		return;
	notes++;
	CHECK_EQ(n->n_type, DESCRIPTOR_NOTE_TYPE);
	CHECK_EQ(n->n_descsz, sizeof(note));
	memcpy(&note, desc, sizeof(note));
	CHECK_EQ(note.version, DESCRIPTOR_VERSION);
	memcpy(&distance, note.distance, sizeof(distance));
	found = (uintptr_t)desc + offsetof(struct descriptor_note, distance) + (uintptr_t)distance;
}

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const Elf64_Phdr *p = &info->dlpi_phdr[i];
		const char *at = (const char *)info->dlpi_addr + p->p_vaddr, *end = at + p->p_memsz;
		while (p->p_type == PT_NOTE && p->p_align <= 4 && end - at > 12) {
			const Elf64_Nhdr *n = (const void *)at;
			look_at_note(n);
			at += sizeof(*n) + ((n->n_namesz + 3) & ~3u) + ((n->n_descsz + 3) & ~3u);
		}
	}
	return 0;
}

GREEN_TEST(the_note_leads_to_the_descriptor)
{
	notes = 0;
	dl_iterate_phdr(look_at_object, NULL);
	CHECK_EQ(notes, 1);
	CHECK_EQ(found, (uintptr_t)&green_descriptor);
}

/* ---- its items --------------------------------------------------------------- */

static const struct descriptor_item *item(const char *name)
{
	for (unsigned i = 0; i < DESCRIPTOR_ITEMS; i++)
		if (strcmp(green_descriptor.items[i].name, name) == 0)
			return &green_descriptor.items[i];
	CHECK(!"there is such an item");
	return &green_descriptor.items[DESCRIPTOR_ITEMS - 1];
}

/* As a reader from outside: others write meanwhile, so that it is not instrumented. */
__attribute__((no_sanitize("thread"), noinline)) static void peek(void *to, const void *from,
                                                                  size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const volatile char *)from)[i];
}

/* The field of an object. */
static uint64_t read_field(const void *object, const char *name)
{
	const struct descriptor_item *field = item(name);
	uint64_t n = 0;

	REQUIRE(field->size <= sizeof(n));
	peek(&n, (const char *)object + field->value, field->size);
	return n;
}

static void *object_at(const char *name)
{
	return (void *)(uintptr_t)item(name)->value; /* NOLINT(performance-no-int-to-ptr) */
}

GREEN_TEST(the_head_says_how_to_read_on)
{
	CHECK_EQ(memcmp(green_descriptor.magic, DESCRIPTOR_MAGIC, 8), 0);
	CHECK_EQ(green_descriptor.version, DESCRIPTOR_VERSION);
	CHECK_EQ(green_descriptor.header_size, offsetof(struct descriptor, items));
	CHECK_EQ(green_descriptor.item_size, sizeof(struct descriptor_item));
	CHECK_EQ(green_descriptor.items_count, DESCRIPTOR_ITEMS);
	CHECK_STR(green_descriptor.library, GREEN_VERSION);
}

GREEN_TEST(names_are_whole_and_occur_once)
{
	/* The compiler cuts a list that is too long: the last is left free. */
	CHECK_EQ(green_descriptor.items[DESCRIPTOR_ITEMS - 1].name[0], 0);
	for (unsigned i = 0; i < DESCRIPTOR_ITEMS; i++) {
		const char *name = green_descriptor.items[i].name;
		CHECK(memchr(name, 0, sizeof(green_descriptor.items[i].name)));
		for (unsigned j = 0; j < i && *name; j++)
			CHECK(strcmp(name, green_descriptor.items[j].name));
	}
}

GREEN_TEST(every_reason_to_wait_has_its_name)
{
	char name[40];

	for (int why = 0; why < PARK_WHY_COUNT; why++) {
		snprintf(name, sizeof(name), "why:%s", park_why_name(why));
		CHECK_EQ(item(name)->value, why);
	}
}

/* ---- what it leads to --------------------------------------------------------- */

static green_mutex_t mutex = GREEN_MUTEX_INIT;

static void *locker(void *arg)
{
	green_mutex_lock(&mutex);
	green_mutex_unlock(&mutex);
	return arg;
}

static void check_arena(const struct gt *gt)
{
	uint64_t stack = read_field(gt, "gt.stack");
	uint64_t shift = item("STACK_ID_SHIFT")->value, slot = stack & (((uint64_t)1 << shift) - 1);
	const char *a =
		(const char *)object_at("arenas") + ((stack >> shift) - 1) * item("arena")->size;
	uint64_t end = read_field(a, "arena.base") + ((slot + 1) << read_field(a, "arena.shift"));
	uint64_t colour =
		(slot * item("STACK_COLOUR_FACTOR")->value & item("STACK_COLOUR_MASK")->value)
		<< item("STACK_COLOUR_SHIFT")->value;

	CHECK(slot < read_field(a, "arena.slots"));
	CHECK_EQ(end - colour, (uintptr_t)stack_top((stack_id)stack));
}

/* A parked thread, found as readers find it: by the table. */
GREEN_TEST(a_parked_thread_is_described)
{
	green_t thread;

	CHECK_EQ(green_mutex_lock(&mutex), 0);
	CHECK_EQ(green_spawn(&thread, &(struct green_attr){ .name = "described" }, locker, NULL),
	         0);
	const char *table, *gt;
	memcpy(&table, object_at("gt_table"), sizeof(table));
	gt = table +
	     (thread & (((uint64_t)1 << item("GT_INDEX_BITS")->value) - 1)) * item("gt")->size;
	while (!(read_field(gt, "gt.park") & item("PARK_SAVED")->value))
		green_yield();
	CHECK(gt == (const char *)gt_lookup(thread));
	CHECK_EQ(read_field(gt, "gt.state"), item("state:parked")->value);
	CHECK_EQ(read_field(gt, "gt.why"), item("why:mutex")->value);
	CHECK_EQ(read_field(gt, "gt.wait_obj"), (uintptr_t)&mutex);
	CHECK_EQ(read_field(gt, "gt.fn"), (uintptr_t)locker);
	CHECK(read_field(gt, "gt.id") & item("GT_LIVE")->value);
	CHECK_EQ(read_field(&mutex, "green_mutex.owner"), green_self());
	uintptr_t ext = read_field(gt, "gt.ext") + item("gt_ext.name")->value;
	CHECK_STR((const char *)ext, "described"); /* NOLINT(performance-no-int-to-ptr) */
	check_arena(gt_lookup(thread));
	CHECK_EQ(green_mutex_unlock(&mutex), 0);
	CHECK_EQ(green_join(thread, NULL), 0);
}

static void *reported(void *arg)
{
	return arg;
}

/* What it runs and who spawned it is not said by gt.fn and gt.spawn_pc alone. */
GREEN_TEST(those_that_the_library_spawns_are_told_apart)
{
	struct spawn spawn = { .fn = locker, .worker = -1, .pc = (void *)(uintptr_t)reported };
	uint64_t handler = item("GT_KIND_HANDLER")->value, ext;
	green_t threads[2];

	CHECK_EQ(green_mutex_lock(&mutex), 0);
	spawn.handler = true;
	CHECK_EQ(sched_spawn(&spawn, &threads[0]), 0);
	spawn.handler = false;
	spawn.user_fn = reported;
	CHECK_EQ(sched_spawn(&spawn, &threads[1]), 0);
	const struct gt *served = gt_lookup(threads[0]), *of_pool = gt_lookup(threads[1]);
	CHECK(read_field(served, "gt.kind") & handler);
	CHECK_EQ(read_field(served, "gt.spawn_pc"), (uintptr_t)reported);
	CHECK(!(read_field(of_pool, "gt.kind") & handler));
	ext = read_field(of_pool, "gt.ext");
	CHECK_EQ(read_field((const void *)ext, /* NOLINT(performance-no-int-to-ptr) */
	                    "gt_ext.user_fn"),
	         (uintptr_t)reported);
	CHECK_EQ(green_mutex_unlock(&mutex), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(green_join(threads[i], NULL), 0);
}

GREEN_TEST(the_worker_that_runs_it_is_found)
{
	const char *runtime = object_at("rt");
	uint64_t id = (uint64_t)green_worker();
	const char *worker;

	CHECK_EQ(read_field(runtime, "runtime.state"), item("runtime:running")->value);
	REQUIRE(id < read_field(runtime, "runtime.workers_count"));
	memcpy(&worker, runtime + item("runtime.workers")->value + id * sizeof(worker),
	       sizeof(worker));
	CHECK_EQ(read_field(worker, "worker.current"), (uintptr_t)gt_self());
	CHECK_EQ(read_field(worker, "worker.id"), id);
	CHECK_EQ(read_field(worker, "worker.tid"), gettid());
}

static void nothing(void *arg)
{
	(void)arg;
}

TEST(a_saved_context_is_described)
{
	_Alignas(16) char stack[4096];
	char *sp = switch_prepare(stack + sizeof(stack), nothing, stack);

	/* switch.h: entry and its argument lie in callee-saved registers. */
	CHECK_EQ(item("frame")->size, (size_t)(stack + sizeof(stack) - 16 - sp));
	CHECK(read_field(sp, "frame.pc") != 0);
#if defined(__x86_64__)
	CHECK_EQ(read_field(sp, "frame.reg3"), (uintptr_t)nothing);
	CHECK_EQ(read_field(sp, "frame.reg12"), (uintptr_t)stack);
	CHECK_EQ(read_field(sp, "frame.reg6"), 0);
	CHECK_EQ(item("frame.sp_number")->value, 7);
#endif
}

/* ---- what tracers start from ---------------------------------------------------- */

GREEN_TEST(tracers_find_the_records)
{
	struct worker *w = worker_self();

	CHECK_EQ(item("trace_info")->value, (uintptr_t)&trace_info);
	CHECK_EQ(item("trace_info")->size, sizeof(struct trace_info));
	CHECK_EQ(item("trace_hot")->value, (uintptr_t)&trace_hot);
	CHECK_EQ(item("worker.trace.records")->value, (uintptr_t)&w->trace.records - (uintptr_t)w);
	CHECK_EQ(item("worker.trace.head")->value, (uintptr_t)&w->trace.head - (uintptr_t)w);
	CHECK_EQ(item("worker.trace.flushed")->value, (uintptr_t)&w->trace.flushed - (uintptr_t)w);
}
