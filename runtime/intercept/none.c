/* SPDX-License-Identifier: MIT
 *
 * Builds that cannot intercept system calls: another CPU, or a sanitizer beside.
 */
#include "green.h"
#include "options.h"

#include <errno.h>

int green_intercept_start(void)
{
	error_set("this build of libgreen cannot intercept system calls");
	return -ENOTSUP;
}

int green_intercept_info(struct green_intercept_info *info)
{
	*info = (struct green_intercept_info){ 0 };
	return -ENOTSUP;
}
