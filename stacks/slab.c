/* SPDX-License-Identifier: MIT
 *
 * Taking, giving and tidying up.
 */
#include "slab.h"
#include "arch/sys.h"
#include "scrub.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT SLAB_UNIT
#define CLASSES (SLAB_BYTES_MAX / UNIT + 1) /* by number of units */
#define UNITS_OF_BLOCK (SLAB_BLOCK / UNIT)
#define DUMP_STEP 64u /* blocks, at least */
#define BITMAP (SLAB_BLOCK / SLAB_BYTES_MIN / 64)

struct block {
	_Atomic uint64_t free[BITMAP];
	uint32_t next; /* in one of the taker's lists */
	uint16_t size; /* of its entries; 0: it has none, and no memory */
	uint16_t count;
};

static struct {
	struct block *blocks; /* [0] is not used: entry 0 is none */
	char *base;           /* of block 0 */
	size_t mapped;
	uint32_t top, end;         /* blocks never used */
	uint32_t dumpable;         /* blocks below it appear in core dumps */
	uint32_t empty;            /* list of those below top that hold nothing */
	uint32_t partial[CLASSES]; /* lists of those with free entries */
	_Atomic size_t in_use;     /* blocks */
	_Atomic bool given;        /* something, since slab_tidy() */
} slab;

/* An entry is named by its place, in units. */
_Static_assert(UNITS_OF_BLOCK == 2048, "2^21 blocks at most");
#define BLOCKS_MAX ((size_t)1 << 21)

int slab_init(size_t bytes)
{
	size_t blocks = bytes / SLAB_BLOCK + 2;
	long error = -ENOMEM;
	char *memory = NULL;

	if (blocks > BLOCKS_MAX)
		blocks = BLOCKS_MAX;
	for (; blocks > 2 && !memory; blocks /= 2) {
		size_t heads = (blocks * sizeof(struct block) + SLAB_BLOCK - 1) & -SLAB_BLOCK;
		slab.mapped = heads + blocks * SLAB_BLOCK;
		memory = sys_map(slab.mapped, SYS_MAP_NORESERVE, &error);
		slab.base = memory ? memory + heads : NULL;
		slab.end = (uint32_t)blocks;
	}
	if (!memory)
		return (int)error;
	sys_name(memory, slab.mapped, "green hibernated stacks");
	/* As in arena.c: a dump of all that is reserved would be as long. */
	sys3(SYS_madvise, memory, slab.mapped, MADV_DONTDUMP);
	slab.blocks = (struct block *)memory;
	slab.top = 1;
	return 0;
}

void slab_fini(void)
{
	sys_unmap(slab.blocks, slab.mapped);
	memset(&slab, 0, sizeof(slab));
}

static struct block *block_of(uint32_t entry)
{
	return &slab.blocks[entry / UNITS_OF_BLOCK];
}

void *slab_at(uint32_t entry)
{
	return slab.base + (size_t)entry * UNIT;
}

size_t slab_bytes(void)
{
	return atomic_load_explicit(&slab.in_use, memory_order_relaxed) * SLAB_BLOCK;
}

/* ---- taking ----------------------------------------------------------------- */

/* Blocks below `top` and some more shall be part of core dumps: one VMA of them. */
static void dump_up_to(uint32_t top)
{
	uint32_t old = slab.dumpable, step = old / 8 < DUMP_STEP ? DUMP_STEP : old / 8;

	if (top <= old)
		return;
	slab.dumpable = slab.end - old < step ? slab.end : old + step;
	sys3(SYS_madvise, slab.base + old * SLAB_BLOCK, (slab.dumpable - old) * SLAB_BLOCK,
	     MADV_DODUMP);
}

/* A block of free entries of that size, at the head of its list; 0: no room. */
static uint32_t add_block(size_t units)
{
	uint32_t at = slab.empty;

	if (at)
		slab.empty = slab.blocks[at].next;
	else if (slab.top < slab.end)
		at = slab.top++;
	else
		return 0;
	dump_up_to(slab.top);
	struct block *b = &slab.blocks[at];
	b->size = (uint16_t)(units * UNIT);
	b->count = (uint16_t)(SLAB_BLOCK / b->size);
	for (unsigned i = 0; i < BITMAP; i++) {
		unsigned left = b->count > i * 64 ? b->count - i * 64 : 0;
		atomic_store_explicit(&b->free[i],
		                      left >= 64 ? UINT64_MAX : ((uint64_t)1 << left) - 1,
		                      memory_order_relaxed);
	}
	b->next = slab.partial[units];
	slab.partial[units] = at;
	atomic_fetch_add_explicit(&slab.in_use, 1, memory_order_relaxed);
	return at;
}

/* The lowest free entry of the block; 0: there is none. */
static uint32_t take_from(uint32_t at)
{
	struct block *b = &slab.blocks[at];

	for (unsigned i = 0; i < BITMAP; i++) {
		/* Acquire pairs with the release in slab_give(): whoever had the entry
		 * has read it. */
		uint64_t word = atomic_load_explicit(&b->free[i], memory_order_acquire);
		if (!word)
			continue;
		unsigned n = i * 64 + (unsigned)__builtin_ctzll(word);
		atomic_fetch_and_explicit(&b->free[i], ~(word & -word), memory_order_relaxed);
		return (uint32_t)(at * UNITS_OF_BLOCK + n * (b->size / UNIT));
	}
	return 0;
}

uint32_t slab_take(size_t bytes)
{
	size_t units = ((bytes < SLAB_BYTES_MIN ? SLAB_BYTES_MIN : bytes) + UNIT - 1) / UNIT;

	assert(bytes <= SLAB_BYTES_MAX);
	while (slab.partial[units] || add_block(units)) {
		uint32_t entry = take_from(slab.partial[units]);
		if (entry)
			return entry;
		slab.partial[units] = slab.blocks[slab.partial[units]].next;
	}
	return 0;
}

void slab_give(uint32_t entry)
{
	struct block *b = block_of(entry);
	unsigned n = (unsigned)(entry % UNITS_OF_BLOCK * UNIT) / b->size;

	if (scrub_is_on())
		memset(slab_at(entry), 0, b->size);
	/* Release: all reading of the entry came before. */
	uint64_t before = atomic_fetch_or_explicit(&b->free[n / 64], (uint64_t)1 << n % 64,
	                                           memory_order_release);
	assert(!(before >> n % 64 & 1));
	(void)before;
	atomic_store_explicit(&slab.given, true, memory_order_relaxed);
}

/* ---- tidying up ------------------------------------------------------------- */

static unsigned count_free(struct block *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BITMAP; i++)
		n += (unsigned)__builtin_popcountll(
			atomic_load_explicit(&b->free[i], memory_order_acquire));
	return n;
}

/* Of blocks that nobody can give to any more. */
static void drop(uint32_t first, uint32_t end)
{
	if (first < end)
		sys3(SYS_madvise, slab.base + first * SLAB_BLOCK, (end - first) * SLAB_BLOCK,
		     MADV_DONTNEED);
}

/* Lists the block where it belongs; true when it has just become empty. */
static bool list(uint32_t at)
{
	struct block *b = &slab.blocks[at];
	unsigned n = b->size ? count_free(b) : 0;
	bool emptied = b->size && n == b->count;

	if (emptied) {
		b->size = 0;
		atomic_fetch_sub_explicit(&slab.in_use, 1, memory_order_relaxed);
	}
	if (b->size == 0) {
		b->next = slab.empty;
		slab.empty = at;
	} else if (n > 0) {
		b->next = slab.partial[b->size / UNIT];
		slab.partial[b->size / UNIT] = at;
	}
	return emptied;
}

void slab_tidy(void)
{
	if (!atomic_exchange_explicit(&slab.given, false, memory_order_relaxed))
		return;
	memset(slab.partial, 0, sizeof(slab.partial));
	slab.empty = 0;
	uint32_t end = slab.top; /* of the run of emptied blocks that ends here */
	/* From above, so that each list begins with the lowest. */
	for (uint32_t at = slab.top; at-- > 1;)
		if (!list(at)) {
			drop(at + 1, end);
			end = at;
		}
	drop(1, end);
}
