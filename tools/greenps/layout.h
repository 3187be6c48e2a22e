/* SPDX-License-Identifier: MIT
 *
 * struct layout: where the target's runtime keeps what, from its descriptor
 * (runtime/descriptor.h).
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "target.h"

struct field {
	uint64_t value; /* offset in its struct, address, or the constant itself */
	uint64_t size;
};

/* Member of struct layout, name of the item. */
#define LAYOUT_ITEMS(X)                                   \
	X(rt, "rt")                                       \
	X(gt_table, "gt_table")                           \
	X(gt_table_high, "gt_table_high")                 \
	X(arenas, "arenas")                               \
	X(runtime, "runtime")                             \
	X(runtime_state, "runtime.state")                 \
	X(runtime_workers_count, "runtime.workers_count") \
	X(runtime_workers, "runtime.workers")             \
	X(runtime_idle, "runtime.idle")                   \
	X(runtime_is_ready, "runtime:ready")              \
	X(runtime_is_running, "runtime:running")          \
	X(worker, "worker")                               \
	X(worker_current, "worker.current")               \
	X(worker_now, "worker.now")                       \
	X(worker_stuck_since, "worker.stuck_since")       \
	X(worker_tid, "worker.tid")                       \
	X(worker_switches, "worker.switches")             \
	X(gt, "gt")                                       \
	X(gt_sp, "gt.sp")                                 \
	X(gt_park, "gt.park")                             \
	X(gt_stack, "gt.stack")                           \
	X(gt_worker, "gt.worker")                         \
	X(gt_state, "gt.state")                           \
	X(gt_why, "gt.why")                               \
	X(gt_wait_obj, "gt.wait_obj")                     \
	X(gt_wait_pc, "gt.wait_pc")                       \
	X(gt_since_ns, "gt.since_ns")                     \
	X(gt_ext, "gt.ext")                               \
	X(gt_id, "gt.id")                                 \
	X(gt_fn, "gt.fn")                                 \
	X(gt_spawn_pc, "gt.spawn_pc")                     \
	X(index_bits, "GT_INDEX_BITS")                    \
	X(cancelled, "GT_CANCELLED")                      \
	X(migratable, "GT_MIGRATABLE")                    \
	X(foreign, "GT_FOREIGN")                          \
	X(live, "GT_LIVE")                                \
	X(park_saved, "PARK_SAVED")                       \
	X(state_ready, "state:ready")                     \
	X(state_running, "state:running")                 \
	X(state_parked, "state:parked")                   \
	X(why_join, "why:join")                           \
	X(why_mutex, "why:mutex")                         \
	X(why_send, "why:send")                           \
	X(why_receive, "why:receive")                     \
	X(why_io, "why:io")                               \
	X(why_close, "why:close")                         \
	X(gt_ext_struct, "gt_ext")                        \
	X(gt_ext_name, "gt_ext.name")                     \
	X(io_op_fd, "io_op.fd")                           \
	X(mutex_owner, "green_mutex.owner")               \
	X(arena, "arena")                                 \
	X(arena_base, "arena.base")                       \
	X(arena_shift, "arena.shift")                     \
	X(arena_slots, "arena.slots")                     \
	X(stack_id_shift, "STACK_ID_SHIFT")               \
	X(colour_factor, "STACK_COLOUR_FACTOR")           \
	X(colour_mask, "STACK_COLOUR_MASK")               \
	X(colour_shift, "STACK_COLOUR_SHIFT")             \
	X(census_sites, "census_sites")                   \
	X(census_site, "census_site")                     \
	X(census_pc, "census_site.pc")                    \
	X(census_fn, "census_site.fn")                    \
	X(census_deepest, "census_site.deepest")          \
	X(census_size, "census_site.size")                \
	X(census_looked, "census_site.looked")            \
	X(census_is_handler, "census_site.is_handler")    \
	X(frame, "frame")                                 \
	X(frame_pc, "frame.pc")                           \
	X(frame_sp_number, "frame.sp_number")

/* What a libgreen that cannot hibernate, or does so otherwise, does not have. */
#define LAYOUT_SLEEP_ITEMS(X)                     \
	X(arena_sleep, "arena.sleep")             \
	X(slot_sleep, "slot_sleep")               \
	X(slot_word, "slot_sleep.word")           \
	X(slot_slab, "slot_sleep.slab")           \
	X(slot_hibernated, "slot:hibernated")     \
	X(slot_state_mask, "SLOT_STATE_MASK")     \
	X(slot_length_shift, "SLOT_LENGTH_SHIFT") \
	X(slot_length_mask, "SLOT_LENGTH_MASK")   \
	X(slot_model_shift, "SLOT_MODEL_SHIFT")   \
	X(hibernate_view, "hibernate_view")       \
	X(view_slab, "hibernate_view.slab")       \
	X(view_models, "hibernate_view.models")   \
	X(view_words, "hibernate_view.words")     \
	X(slab_unit, "SLAB_UNIT")                 \
	X(pack_model, "pack_model")               \
	X(pack_model_top, "pack_model.top")       \
	X(pack_format, "PACK_FORMAT")             \
	X(pack_models, "PACK_MODELS")             \
	X(pack_words_max, "PACK_WORDS_MAX")

/* Those that a runtime may be without: their size is then UINT64_MAX. */
#define LAYOUT_OPTIONAL_ITEMS(X)                        \
	X(trace_info, "trace_info")                     \
	X(trace_hot, "trace_hot")                       \
	X(text, "text")                                 \
	X(text_end, "text.end")                         \
	X(gt_kind, "gt.kind")                           \
	X(kind_handler, "GT_KIND_HANDLER")              \
	X(gt_ext_user_fn, "gt_ext.user_fn")             \
	X(io_op_gt, "io_op.waiter.gt")                  \
	X(worker_trace_records, "worker.trace.records") \
	X(worker_trace_head, "worker.trace.head")

#define LAYOUT_NAMES 256    /* values of an enum that can have a name */
#define LAYOUT_REGISTERS 17 /* DWARF numbers that can be in a saved context */
#define STRUCT_SIZE_MAX 65536
#define SLOT_SIZE_MAX 64 /* what is known of a slot's sleep */

struct layout {
	char library[17];
	uint64_t base; /* where the file that has the runtime is mapped */
#define LAYOUT_MEMBER(member, name) struct field member;
	LAYOUT_ITEMS(LAYOUT_MEMBER)
	LAYOUT_SLEEP_ITEMS(LAYOUT_MEMBER)
	LAYOUT_OPTIONAL_ITEMS(LAYOUT_MEMBER)
#undef LAYOUT_MEMBER
	bool has_sleep;                           /* the latter, and they are understood here */
	struct field registers[LAYOUT_REGISTERS]; /* size 0: not saved */
	char states[LAYOUT_NAMES][24], whys[LAYOUT_NAMES][24];
};

/* Finds the descriptor.  EXIT_OK, or a problem that has been reported. */
int layout_find(struct layout *l, struct target *t);

/* The number in the field of the struct that was read to raw. */
uint64_t layout_get(const void *raw, struct field f);

/* What the thread whose descriptor was read to raw runs, for people, and the call that spawned
 * it; 0: green_serve().  As gt_function() and gt_origin() of the runtime. */
uint64_t layout_function(const struct layout *l, struct target *t, const void *raw);
uint64_t layout_origin(const struct layout *l, const void *raw);

/* The number at a global object of 1, 2, 4 or 8 bytes. */
bool layout_global(struct target *t, struct field f, uint64_t *value);

/* "?" for what has no name. */
const char *layout_state(const struct layout *l, unsigned state);
const char *layout_why(const struct layout *l, unsigned why);

#endif
