/* SPDX-License-Identifier: MIT
 *
 * What the entry must know of this CPU to keep vector state (entry_x86_64.S).
 */
#include "arch/sys.h"
#include "intercept/entry.h"
#include "intercept/thread.h"

#include <cpuid.h>
#include <stdlib.h>
#include <sys/mman.h>

/* x87, SSE, AVX, the three of AVX-512 */
#define COMPONENTS 0xe7u
#define AVX 2
#define HI16 7
#define LEGACY_AND_HEADER 576u

/* As the entry has it: 64 for the rest, SSE, the masks, the sixteen registers. */
#define ROOM_LINES 5u
#define ROOM_LINES_HI16 22u

#define XSAVE_LEAF 0xd
#define HAS_XGETBV1 (1u << 2)
#define HAS_AVX512BW (1u << 30)

uint64_t intercept_vector_bytes, intercept_vector_mask;
bool intercept_vector_by_hand;
char *intercept_rooms;
uint64_t intercept_room_lines;

static bool has_avx512bw(void)
{
	unsigned eax, ebx, ecx, edx;

	__cpuid_count(7, 0, eax, ebx, ecx, edx);
	return ebx & HAS_AVX512BW;
}

/* The compacted format (Intel SDM volume 1, 13.4.3). */
void intercept_vector_init(void)
{
	unsigned eax, ebx, ecx, edx, xgetbv1;
	uint64_t bytes = LEGACY_AND_HEADER;

	__cpuid_count(XSAVE_LEAF, 1, eax, ebx, ecx, edx);
	xgetbv1 = eax & HAS_XGETBV1;
	__cpuid_count(XSAVE_LEAF, 0, eax, ebx, ecx, edx);
	intercept_vector_mask = eax & COMPONENTS;
	for (unsigned i = AVX; i < 32; i++) {
		if (!(intercept_vector_mask >> i & 1))
			continue;
		__cpuid_count(XSAVE_LEAF, i, eax, ebx, ecx, edx);
		if (ecx & 2)
			bytes = (bytes + 63) & ~63ul;
		bytes += eax;
	}
	intercept_vector_bytes = (bytes + 63) & ~63ul;
	intercept_vector_by_hand = xgetbv1 && intercept_vector_mask >> AVX & 1;
	if (intercept_vector_mask >> HI16 & 1)
		intercept_vector_by_hand &= has_avx512bw();
}

void intercept_rooms_init(void)
{
	const char *lean = secure_getenv("GREEN_LEAN");
	long error;

	intercept_room_lines = intercept_vector_mask >> HI16 & 1 ? ROOM_LINES_HI16 : ROOM_LINES;
	if (!lean || *lean != '1' || !intercept_vector_by_hand)
		return;
	size_t size = THREADS_MAX * intercept_room_lines * 64;
	/* Where there is no address space for them the stacks do. */
	intercept_rooms = sys_map(size, SYS_MAP_NORESERVE, &error);
	if (!intercept_rooms)
		return;
	sys_name(intercept_rooms, size, "green vector state");
	sys3(SYS_madvise, intercept_rooms, size, MADV_DONTDUMP);
}
