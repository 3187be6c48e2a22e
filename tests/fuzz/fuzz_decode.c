/* SPDX-License-Identifier: MIT
 *
 * The instruction decoder on any bytes: it reads no further than it may, its parts lie in
 * the instruction one behind the other, the same bytes give the same answer whatever
 * follows, and bytes that are missing are noticed.
 */
#include "intercept/decode.h"

#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
	if (!condition)
		abort();
}

static void look_at(const struct insn *insn)
{
	require(insn->length <= INSN_MAX);
	require(insn->opcode_at < insn->length);
	if (insn->disp_size) {
		require(insn->disp_at > insn->opcode_at);
		require(insn->disp_at + insn->disp_size <= insn->imm_at);
	}
	require(insn->imm_at + insn->imm_size == insn->length);
	require(!insn->rip_relative || insn->disp_size == 4);
	require(!insn->relative || insn->imm_size == 1 || insn->imm_size == 2 ||
	        insn->imm_size == 4);
	if (insn->flow == FLOW_JUMP || insn->flow == FLOW_BRANCH)
		require(insn->relative);
	else if (insn->flow != FLOW_CALL)
		require(!insn->relative);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct insn insn, again;
		unsigned n = insn_decode(data + at, size - at, &insn);

		require(n == insn.length);
		if (!n) {
			at++;
			continue;
		}
		require(n <= size - at);
		look_at(&insn);
		/* In memory of exactly its size. */
		uint8_t *alone = malloc(n);
		require(alone != NULL);
		memcpy(alone, data + at, n);
		require(insn_decode(alone, n, &again) == n);
		require(memcmp(&insn, &again, sizeof(insn)) == 0);
		require(insn_decode(alone, n - 1, &again) == 0);
		if (insn.relative)
			insn_target(alone, &insn, 0);
		free(alone);
		at += n;
	}
	return 0;
}
