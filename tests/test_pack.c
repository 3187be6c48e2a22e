/* SPDX-License-Identifier: MIT
 *
 * Packing: what was packed comes back word by word, whatever it is; stacks that
 * are much alike take little; a model stays as long as a code needs it.
 */
#include "harness.h"

#include "pack.h"

#include <pthread.h>

#define WORDS 64

static uint64_t stack[PACK_WORDS_MAX], back[PACK_WORDS_MAX];
static unsigned char code[PACK_CODE_MAX];

/* Packs the words as if they were a stack; they come back.  The code's size. */
static size_t round_trip(const uint64_t *words, size_t count, uint64_t alike)
{
	unsigned model;
	size_t size = pack(words, words + count, alike, code, &model);

	CHECK(size <= PACK_CODE_MAX);
	memset(back, 0xee, sizeof(back));
	unpack(back, count * 8, words + count, code, model);
	CHECK(memcmp(back, words, count * 8) == 0);
	CHECK(count == PACK_WORDS_MAX || back[count] == 0xeeeeeeeeeeeeeeeeu);
	pack_forget(model);
	return size;
}

static uint64_t random_word(void)
{
	uint64_t bits = ((uint64_t)(unsigned)rand() << 42) ^ ((uint64_t)(unsigned)rand() << 21) ^
	                (unsigned)rand();

	return bits >> rand() % 64;
}

TEST(pack_keeps_any_word)
{
	static const uint64_t hard[] = {
		0,         1,          0x7f,       0x80,           0xff,
		0x100,     0x7fff,     0x8000,     0x7fffffff,     0x80000000,
		INT64_MAX, 1ull << 63, UINT64_MAX, (uint64_t)-128, (uint64_t)-129
	};

	REQUIRE_EQ(pack_init(), 0);
	for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
		for (size_t k = 0; k < sizeof(hard) / sizeof(hard[0]); k++) {
			stack[0] = hard[i];
			stack[1] = hard[k];
			stack[2] = hard[i];
			round_trip(stack, 3, i % 2);
		}
	pack_fini();
}

TEST(pack_keeps_random_words)
{
	REQUIRE_EQ(pack_init(), 0);
	srand(3);
	for (int round = 0; round < 20000; round++) {
		size_t count = 1 + (size_t)rand() % PACK_WORDS_MAX;
		for (size_t i = 0; i < count; i++)
			if (rand() % 3)
				stack[i] = rand() % 4 ? random_word()
				                      : (uintptr_t)&stack[rand() % PACK_WORDS_MAX];
		round_trip(stack, count, (uint64_t)rand() % 8);
	}
	pack_fini();
}

TEST(pack_at_its_worst)
{
	REQUIRE_EQ(pack_init(), 0);
	for (size_t i = 0; i < PACK_WORDS_MAX; i++)
		stack[i] = (1ull << 62) + (i + 1) * (i + 1);
	CHECK_EQ(round_trip(stack, PACK_WORDS_MAX, 1), PACK_CODE_MAX);
	pack_fini();
}

/* As threads leave them that wait in the same place: return addresses, pointers
 * into the stack itself, one descriptor's address several times, a number. */
static void look_like_a_thread(uint64_t *words, uint64_t number)
{
	for (size_t i = 0; i < WORDS; i++) {
		switch (i % 4) {
		case 0:
			words[i] = 0x5555deadbe00 + i;
			break;
		case 1:
			words[i] = (uintptr_t)&words[i + 2];
			break;
		case 2:
			words[i] = 0x7f0012340000 + number * 128;
			break;
		default:
			words[i] = 0;
		}
	}
	words[WORDS - 1] = number;
}

TEST(pack_makes_likes_small)
{
	static uint64_t stacks[100][WORDS];

	REQUIRE_EQ(pack_init(), 0);
	for (uint64_t i = 0; i < 100; i++) {
		look_like_a_thread(stacks[i], i);
		size_t size = round_trip(stacks[i], WORDS, 42);
		/* Two bits a word; the descriptor; the number. */
		CHECK(i < 2 || size <= WORDS / 4 + 1 + 8 + 1 + 8);
	}
	pack_fini();
}

TEST(pack_keeps_models_in_use)
{
	enum { KINDS = 3 * PACK_MODELS, PACKED = 5000 };
	static struct {
		unsigned char code[WORDS / 4 + WORDS * 9];
		uint64_t words[WORDS];
		unsigned model;
	} packed[PACKED];
	unsigned modelled = 0;

	REQUIRE_EQ(pack_init(), 0);
	srand(5);
	for (int round = 0; round < 100000; round++) {
		unsigned at = (unsigned)rand() % PACKED, kind = (unsigned)rand() % KINDS;
		if (packed[at].words[0]) {
			unpack(back, WORDS * 8, packed[at].words + WORDS, packed[at].code,
			       packed[at].model);
			CHECK(memcmp(back, packed[at].words, WORDS * 8) == 0);
			pack_forget(packed[at].model);
			packed[at].words[0] = 0;
			continue;
		}
		look_like_a_thread(packed[at].words, kind);
		pack(packed[at].words, packed[at].words + WORDS, kind, code, &packed[at].model);
		memcpy(packed[at].code, code, sizeof(packed[at].code));
		modelled += packed[at].model != 0;
	}
	CHECK(modelled > 1000);
	pack_fini();
}

/* Readers from outside meet what is none: nothing beyond code and model is read. */
TEST(packed_refuses_what_is_no_code)
{
	struct recent recent;
	unsigned model, refused = 0;

	REQUIRE_EQ(pack_init(), 0);
	srand(7);
	for (int round = 0; round < 20000; round++) {
		size_t count = 1 + (size_t)rand() % WORDS, size = (size_t)rand() % (10 * count);
		unsigned char *bytes = malloc(size ? size : 1);
		uint64_t *like = calloc(count, 8);
		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)rand();
		refused += !packed_read(back, count, like, 8, bytes, size, &recent);
		free(bytes);
		free(like);
	}
	CHECK_GE(refused, 1000);
	/* Cut short by a byte. */
	static uint64_t zeros[WORDS];
	for (size_t i = 0; i < WORDS; i++)
		stack[i] = random_word() | 1;
	size_t size = pack(stack, stack + WORDS, 1, code, &model);
	CHECK_EQ(model, 0);
	uint64_t moved = (uintptr_t)(stack + WORDS);
	CHECK(packed_read(back, WORDS, zeros, moved, code, size, &recent));
	CHECK(memcmp(back, stack, sizeof(zeros)) == 0);
	CHECK(!packed_read(back, WORDS, zeros, moved, code, size - 1, &recent));
	pack_forget(model);
	pack_fini();
}

/* ---- readers beside the packer ------------------------------------------------ */

/* Many, so that packer and reader seldom wait for each other: where other
 * programs have the CPUs, each such wait takes milliseconds. */
#define SLOTS 64
static struct {
	_Atomic bool full; /* the reader's turn */
	uint64_t words[WORDS];
	unsigned char code[PACK_CODE_MAX];
	unsigned model;
} passed[SLOTS];
static _Atomic bool stop;

static void *reader(void *unused)
{
	uint64_t mine[WORDS];

	(void)unused;
	while (!atomic_load(&stop)) {
		bool idle = true;
		for (int i = 0; i < SLOTS; i++) {
			if (!atomic_load(&passed[i].full))
				continue;
			idle = false;
			unpack(mine, sizeof(mine), passed[i].words + WORDS, passed[i].code,
			       passed[i].model);
			CHECK(memcmp(mine, passed[i].words, sizeof(mine)) == 0);
			pack_forget(passed[i].model);
			atomic_store(&passed[i].full, false);
		}
		if (idle)
			sched_yield();
	}
	return NULL;
}

TEST(pack_beside_readers)
{
	pthread_t thread;

	REQUIRE_EQ(pack_init(), 0);
	REQUIRE_EQ(pthread_create(&thread, NULL, reader, NULL), 0);
	for (uint64_t round = 0; round < 50000; round++) {
		unsigned i = round % SLOTS;
		while (atomic_load(&passed[i].full))
			sched_yield();
		/* So many kinds at the same places that models come and go. */
		look_like_a_thread(passed[i].words, round / 4 % 2000);
		pack(passed[i].words, passed[i].words + WORDS, round / 4 % 2000, passed[i].code,
		     &passed[i].model);
		atomic_store(&passed[i].full, true);
	}
	for (int i = 0; i < SLOTS; i++)
		while (atomic_load(&passed[i].full))
			sched_yield();
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	pack_fini();
}
