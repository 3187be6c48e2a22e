/* SPDX-License-Identifier: MIT
 *
 * The descriptor and the ELF note that leads to it.
 */
#include "descriptor.h"
#include "arch/regs.h"
#include "arena.h"
#include "census.h"
#include "hibernate.h"
#include "intercept/switch_why.h"
#include "io_op.h"
#include "mutex.h"
#include "pack.h"
#include "slab.h"
#include "slot_word.h"
#include "trace.h"

#define NUMBER(name_, value_, size_)                                \
	{                                                           \
		.name = (name_), .value = (value_), .size = (size_) \
	}
#define GLOBAL(object) NUMBER(#object, (uintptr_t)(&(object)), sizeof(object))
#define STRUCT(type) NUMBER(#type, 0, sizeof(struct type))
#define FIELD(type, field) \
	NUMBER(#type "." #field, offsetof(struct type, field), sizeof(((struct type *)0)->field))
#define CONSTANT(constant) NUMBER(#constant, (uint64_t)(constant), 0)
#define NAMED(name_, constant) NUMBER(name_, (uint64_t)(constant), 0)
/* The library's code. */
extern internal const char __start_green_text[], __stop_green_text[];
#define REGISTER(number, offset) NUMBER("frame.reg" #number, offset, 8),

/* Written by nobody, and not const: see the header. */
__attribute__((used)) struct descriptor green_descriptor = {
	.magic = DESCRIPTOR_MAGIC,
	.version = DESCRIPTOR_VERSION,
	.header_size = offsetof(struct descriptor, items),
	.items_count = DESCRIPTOR_ITEMS,
	.item_size = sizeof(struct descriptor_item),
	.library = GREEN_VERSION,
	.items = { GLOBAL(rt), GLOBAL(gt_table), GLOBAL(gt_table_high), GLOBAL(arenas),

	           STRUCT(runtime), FIELD(runtime, state), FIELD(runtime, workers_count),
	           FIELD(runtime, workers), FIELD(runtime, idle),
	           NAMED("runtime:ready", RUNTIME_READY), NAMED("runtime:running", RUNTIME_RUNNING),
	           NAMED("runtime:forked", RUNTIME_FORKED),

	           STRUCT(worker), FIELD(worker, current), FIELD(worker, id),
	           FIELD(worker, switches), FIELD(worker, now), FIELD(worker, stuck_since),
	           FIELD(worker, tid), FIELD(worker, trace.records), FIELD(worker, trace.head),
	           FIELD(worker, trace.flushed), GLOBAL(trace_info), GLOBAL(trace_hot),

	           STRUCT(gt), FIELD(gt, sp), FIELD(gt, park), FIELD(gt, stack), FIELD(gt, worker),
	           FIELD(gt, state), FIELD(gt, why), FIELD(gt, wait_obj), FIELD(gt, wait_pc),
	           FIELD(gt, since_ns), FIELD(gt, ext), FIELD(gt, id), FIELD(gt, fn),
	           FIELD(gt, spawn_pc), FIELD(gt, kind), CONSTANT(GT_KIND_HANDLER),
	           CONSTANT(GT_INDEX_BITS), CONSTANT(GT_CANCELLED), CONSTANT(GT_MIGRATABLE),
	           CONSTANT(GT_FOREIGN), CONSTANT(GT_LIVE), CONSTANT(GT_SYSTEM),
	           CONSTANT(PARK_SAVED), NAMED("state:starting", GT_FREE),
	           NAMED("state:fresh", GT_FRESH), NAMED("state:ready", GT_READY),
	           NAMED("state:running", GT_RUNNING), NAMED("state:parked", GT_PARKED),
	           NAMED("state:ended", GT_DEAD),

	           NUMBER("text", (uintptr_t)__start_green_text, 0),
	           NUMBER("text.end", (uintptr_t)__stop_green_text, 0),

	           STRUCT(gt_ext), FIELD(gt_ext, name), FIELD(gt_ext, user_fn),

	           /* As park_why_name() has them. */
	           NAMED("why:nothing", PARK_NONE), NAMED("why:yield", PARK_YIELD),
	           NAMED("why:sleep", PARK_SLEEP), NAMED("why:join", PARK_JOIN),
	           NAMED("why:mutex", PARK_MUTEX), NAMED("why:cond", PARK_COND),
	           NAMED("why:semaphore", PARK_SEM), NAMED("why:wait group", PARK_WG),
	           NAMED("why:send", PARK_SEND), NAMED("why:receive", PARK_RECV),
	           NAMED("why:select", PARK_SELECT), NAMED("why:pool", PARK_POOL),
	           NAMED("why:io", PARK_IO), NAMED("why:close", PARK_CLOSE),
	           NAMED("why:offload", PARK_OFFLOAD), NAMED("why:futex", PARK_FUTEX),
#define SWITCHES(name, has_file) NAMED("call:" #name, SWITCH_##name),
#include "intercept/switch_list.h"
#undef SWITCHES

	           GLOBAL(census_sites), STRUCT(census_site), FIELD(census_site, pc),
	           FIELD(census_site, fn), FIELD(census_site, deepest), FIELD(census_site, size),
	           FIELD(census_site, looked), FIELD(census_site, is_handler),

	           STRUCT(io_op), FIELD(io_op, fd), FIELD(io_op, waiter.gt), STRUCT(green_mutex),
	           FIELD(green_mutex, owner),

	           STRUCT(arena), FIELD(arena, base), FIELD(arena, shift), FIELD(arena, slots),
	           CONSTANT(STACK_ID_SHIFT), CONSTANT(STACK_COLOUR_FACTOR),
	           CONSTANT(STACK_COLOUR_MASK), CONSTANT(STACK_COLOUR_SHIFT),

	           /* What hibernates: a slot's word leads to its entry in the slab. */
	           FIELD(arena, sleep), STRUCT(slot_sleep), FIELD(slot_sleep, word),
	           FIELD(slot_sleep, slab), NAMED("slot:sweeping", SWEEPING),
	           NAMED("slot:hibernated", HIBERNATED), NAMED("slot:restoring", RESTORING),
	           NAMED("SLOT_STATE_MASK", STATE_MASK), NAMED("SLOT_LENGTH_SHIFT", LENGTH_SHIFT),
	           NAMED("SLOT_LENGTH_MASK", LENGTH_MASK), NAMED("SLOT_MODEL_SHIFT", MODEL_SHIFT),
	           GLOBAL(hibernate_view), FIELD(hibernate_view, slab),
	           FIELD(hibernate_view, models), FIELD(hibernate_view, words), CONSTANT(SLAB_UNIT),
	           STRUCT(pack_model), FIELD(pack_model, top), CONSTANT(PACK_FORMAT),
	           CONSTANT(PACK_MODELS), CONSTANT(PACK_WORDS_MAX),

	           NUMBER("frame", 0, SWITCH_FRAME_SIZE), NUMBER("frame.pc", SWITCH_FRAME_PC, 8),
	           NAMED("frame.sp_number", SWITCH_SP_NUMBER), SWITCH_FRAME_REGISTERS(REGISTER) },
};

/* What the compiler cannot say: a distance between sections, which the linker fills
 * in, so that the note needs no relocation when the program is loaded. */
__asm__(".pushsection .note.libgreen, \"a\", %note\n"
        "	.balign 4\n"
        "	.long 9, 12, 1\n" /* sizes of name and description, type */
        "	.asciz \"libgreen\"\n"
        "	.balign 4\n"
        "	.long 1\n" /* DESCRIPTOR_VERSION */
        "	.quad green_descriptor - .\n"
        "	.popsection\n");
