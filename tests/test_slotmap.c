/* SPDX-License-Identifier: MIT
 *
 * The map of free slots hands out the lowest ones, and agrees with a plain
 * array of flags under random use.
 */
#include "harness.h"

#include "slotmap.h"

TEST(slotmap_hands_out_the_lowest)
{
	static const uint32_t counts[] = { 1, 63, 64, 65, 4096, 4097, 300000 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint32_t count = counts[i], slots[7], next = 0;
		struct slotmap map = { 0 };
		void *memory = calloc(1, slotmap_size(count));

		slotmap_init(&map, memory, count);
		while (next < count) {
			unsigned n = slotmap_take(&map, slots, 7);
			CHECK_EQ(n, count - next < 7 ? count - next : 7);
			for (unsigned k = 0; k < n; k++)
				CHECK_EQ(slots[k], next++);
		}
		CHECK_EQ(slotmap_take(&map, slots, 7), 0);
		uint32_t holes[2] = { count - 1, count / 2 };
		slotmap_give(&map, holes, count > 1 ? 2 : 1);
		CHECK_EQ(slotmap_take(&map, slots, 7), count > 1 ? 2 : 1);
		CHECK_EQ(slots[0], count > 1 ? count / 2 : 0);
		free(memory);
	}
}

TEST(slotmap_agrees_with_a_model)
{
	enum { COUNT = 5000 };
	struct slotmap map = { 0 };
	void *memory = calloc(1, slotmap_size(COUNT));
	bool *taken = calloc(COUNT, sizeof(bool));
	uint32_t held = 0, slot;

	slotmap_init(&map, memory, COUNT);
	srand(7);
	for (int round = 0; round < 200000; round++) {
		if (rand() % 100 < (round / 20000 % 2 ? 35 : 65)) {
			uint32_t lowest = 0;
			while (lowest < COUNT && taken[lowest])
				lowest++;
			CHECK_EQ(slotmap_take(&map, &slot, 1), lowest < COUNT);
			if (lowest < COUNT) {
				CHECK_EQ(slot, lowest);
				taken[slot] = true;
				held++;
			}
		} else {
			slot = (uint32_t)rand() % COUNT;
			if (taken[slot]) {
				slotmap_give(&map, &slot, 1);
				taken[slot] = false;
				held--;
			}
		}
		CHECK_EQ(map.taken, held);
	}
	free(taken);
	free(memory);
}
