/* SPDX-License-Identifier: MIT
 *
 * The slab: entries of all sizes do not overlap and keep their bytes, what has
 * been given is taken again, and an empty slab has given its memory back.
 */
#include "harness.h"

#include "slab.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define COUNT 3000

static struct entry {
	uint32_t at;
	size_t size;
	unsigned char byte;
} entries[COUNT];

static void take(struct entry *e, size_t size)
{
	static unsigned char next;

	*e = (struct entry){ slab_take(size), size, ++next };
	REQUIRE(e->at);
	CHECK_EQ((uintptr_t)slab_at(e->at) % 8, 0);
	memset(slab_at(e->at), e->byte, size);
}

static bool intact(const struct entry *e)
{
	const unsigned char *bytes = slab_at(e->at);

	for (size_t i = 0; i < e->size; i++)
		if (bytes[i] != e->byte)
			return false;
	return true;
}

static void give(struct entry *e)
{
	CHECK(intact(e));
	slab_give(e->at);
	e->at = 0;
}

TEST(slab_entries_do_not_overlap)
{
	REQUIRE_EQ(slab_init(64 * MIB), 0);
	srand(1);
	for (int round = 0; round < 100000; round++) {
		struct entry *e = &entries[rand() % COUNT];
		if (e->at)
			give(e);
		else
			take(e, 1 + (size_t)rand() % SLAB_BYTES_MAX);
		if (round % 1000 == 0)
			slab_tidy();
	}
	for (int i = 0; i < COUNT; i++)
		if (entries[i].at)
			give(&entries[i]);
	slab_tidy();
	CHECK_EQ(slab_bytes(), 0);
	slab_fini();
}

TEST(slab_of_every_size)
{
	REQUIRE_EQ(slab_init(64 * MIB), 0);
	for (size_t size = 0; size <= SLAB_BYTES_MAX; size++)
		take(&entries[size], size);
	for (size_t size = 0; size <= SLAB_BYTES_MAX; size++)
		CHECK(intact(&entries[size]));
	/* Eight of each class: they fit in one block, the largest in two. */
	CHECK(slab_bytes() <= 2 * (SLAB_BYTES_MAX / 8 + 1) * SLAB_BLOCK);
	slab_fini();
}

/* Pages of the slab that have memory. */
static size_t resident(const void *low, size_t size)
{
	static unsigned char pages[64 * MIB / 4096];
	size_t n = 0;

	REQUIRE(size <= 64 * MIB);
	REQUIRE_EQ(mincore((void *)((uintptr_t)low & ~(uintptr_t)4095), size, pages), 0);
	for (size_t i = 0; i < size / 4096; i++)
		n += pages[i] & 1;
	return n;
}

TEST(slab_gives_memory_back)
{
	enum { MANY = 100000, SIZE = 96 };
	static uint32_t at[MANY];
	size_t span = (size_t)MANY * SIZE;

	REQUIRE_EQ(slab_init(64 * MIB), 0);
	for (int i = 0; i < MANY; i++) {
		at[i] = slab_take(SIZE);
		memset(slab_at(at[i]), 1, SIZE);
	}
	const void *low = slab_at(at[0]);
	CHECK(resident(low, span) >= span / 4096 - 8);
	CHECK(slab_bytes() <= span + span / 20);
	for (int i = 0; i < MANY; i += 2)
		slab_give(at[i]);
	slab_tidy();
	CHECK(slab_bytes() > span / 2); /* half of each block is in use */
	for (int i = 0; i < MANY; i += 2)
		at[i] = slab_take(SIZE);
	CHECK(slab_bytes() <= span + span / 20); /* the holes have been filled */
	for (int i = 0; i < MANY; i++)
		if (i != MANY / 2)
			slab_give(at[i]);
	slab_tidy();
	CHECK_EQ(slab_bytes(), SLAB_BLOCK);
	CHECK(resident(low, span) <= SLAB_BLOCK / 4096);
	slab_give(at[MANY / 2]);
	slab_tidy();
	CHECK_EQ(slab_bytes(), 0);
	slab_fini();
}

TEST(slab_changes_classes)
{
	REQUIRE_EQ(slab_init(4 * MIB), 0);
	/* Each size would need half of the slab. */
	for (size_t size = 40; size <= SLAB_BYTES_MAX; size += 8) {
		size_t n = 2 * MIB / size;
		uint32_t *at = calloc(n, sizeof(*at));
		for (size_t i = 0; i < n; i++)
			REQUIRE((at[i] = slab_take(size)));
		for (size_t i = 0; i < n; i++)
			slab_give(at[i]);
		free(at);
		slab_tidy();
		CHECK_EQ(slab_bytes(), 0);
	}
	slab_fini();
}

TEST(slab_fills_up)
{
	REQUIRE_EQ(slab_init(MIB), 0);
	unsigned n = 0;
	uint32_t last = 0, at;
	while ((at = slab_take(1000))) {
		last = at;
		n++;
	}
	CHECK(n >= MIB / SLAB_BLOCK * (SLAB_BLOCK / 1000));
	slab_give(last);
	slab_tidy();
	CHECK_EQ(slab_take(1000), last);
	CHECK_EQ(slab_take(1000), 0);
	slab_fini();
}

/* ---- givers beside the taker ------------------------------------------------- */

#define HANDED 4096

static struct {
	_Atomic uint32_t slots[HANDED];
	_Atomic bool stop;
} handed;

static void *giver(void *unused)
{
	(void)unused;
	while (!atomic_load(&handed.stop))
		for (int i = 0; i < HANDED; i++) {
			uint32_t at = atomic_exchange(&handed.slots[i], 0);
			if (at) {
				const uint32_t *word = slab_at(at);
				CHECK_EQ(*word, at);
				slab_give(at);
			}
		}
	return NULL;
}

TEST(slab_is_given_to_from_all_sides)
{
	pthread_t givers[2];

	REQUIRE_EQ(slab_init(64 * MIB), 0);
	for (int i = 0; i < 2; i++)
		REQUIRE_EQ(pthread_create(&givers[i], NULL, giver, NULL), 0);
	for (int round = 0; round < 200000; round++) {
		uint32_t at = slab_take(32 + (size_t)(round % 7) * 8);
		REQUIRE(at);
		*(uint32_t *)slab_at(at) = at;
		while ((at = atomic_exchange(&handed.slots[round % HANDED], at))) {
			slab_give(at);
			at = 0;
		}
		if (round % 512 == 0)
			slab_tidy();
	}
	atomic_store(&handed.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(givers[i], NULL);
	for (int i = 0; i < HANDED; i++)
		if (handed.slots[i])
			slab_give(handed.slots[i]);
	slab_tidy();
	CHECK_EQ(slab_bytes(), 0);
	slab_fini();
}
