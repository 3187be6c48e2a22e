/* SPDX-License-Identifier: MIT
 *
 * What the entry must know of this CPU to keep vector state (entry_x86_64.S).
 */
#include "arch/sys.h"
#include "feature.h"
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
#define HAS_XSAVEC (1u << 1)
#define HAS_XGETBV1 (1u << 2)
#define HAS_AVX512BW (1u << 30)

uint64_t intercept_vector_bytes, intercept_vector_mask;
bool intercept_vector_by_hand, intercept_vector_compact;
char *intercept_rooms;
uint64_t intercept_room_lines;

static bool has_avx512bw(void)
{
	unsigned eax, ebx, ecx, edx;

	__cpuid_count(7, 0, eax, ebx, ecx, edx);
	return ebx & HAS_AVX512BW;
}

static unsigned component_size(unsigned i, unsigned *offset, bool *aligned)
{
	unsigned eax, ebx, ecx, edx;

	__cpuid_count(XSAVE_LEAF, i, eax, ebx, ecx, edx);
	*offset = ebx;
	*aligned = ecx & 2;
	return eax;
}

/* In the compacted format one component follows another, in the standard one each has its
 * place (Intel SDM volume 1, 13.4). */
static uint64_t area_size(void)
{
	uint64_t bytes = LEGACY_AND_HEADER;

	for (unsigned i = AVX; i < 32; i++) {
		unsigned offset;
		bool aligned;
		if (!(intercept_vector_mask >> i & 1))
			continue;
		unsigned size = component_size(i, &offset, &aligned);
		if (!intercept_vector_compact) {
			if (bytes < offset + size)
				bytes = offset + size;
			continue;
		}
		if (aligned)
			bytes = (bytes + 63) & ~63ul;
		bytes += size;
	}
	return (bytes + 63) & ~63ul;
}

/* The CPUs that have no XSAVEC, of Intel's those before Skylake, have no XGETBV that says
 * what is in use either.  What GREEN_FEATURES has wrong is said when the runtime starts,
 * which comes later. */
void intercept_vector_init(void)
{
	unsigned eax, ebx, ecx, edx;
	char bad[64];

	feature_parse(secure_getenv("GREEN_FEATURES"), bad, sizeof(bad));
	__cpuid_count(XSAVE_LEAF, 1, eax, ebx, ecx, edx);
	intercept_vector_compact = eax & HAS_XSAVEC && feature_on(FEATURE_XSAVEC);
	intercept_vector_by_hand = eax & HAS_XGETBV1 && feature_on(FEATURE_XSAVEC);
	__cpuid_count(XSAVE_LEAF, 0, eax, ebx, ecx, edx);
	intercept_vector_mask = eax & COMPONENTS;
	intercept_vector_bytes = area_size();
	intercept_vector_by_hand &= intercept_vector_mask >> AVX & 1;
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
