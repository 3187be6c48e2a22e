/* SPDX-License-Identifier: MIT
 *
 * The fault of user.h.
 */
#include "intercept/user.h"

#include <ucontext.h>

extern const char user_begin[], user_end[], user_failed[];

bool user_faulted(void *ucontext)
{
	greg_t *pc = &((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];

	if (*pc < (greg_t)user_begin || *pc >= (greg_t)user_end)
		return false;
	*pc = (greg_t)user_failed;
	return true;
}
