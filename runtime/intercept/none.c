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

int green_intercept(unsigned set)
{
	(void)set;
	return green_intercept_start();
}

int green_intercept_all(void)
{
	return green_intercept_start();
}

int green_intercept_exempt(const char *library)
{
	(void)library;
	return -ENOTSUP;
}

bool green_is_intercepted(const char *name)
{
	(void)name;
	return false;
}

int green_blocking_begin(void)
{
	return 0;
}

int green_blocking_end(void)
{
	return 0;
}

int green_intercept_info(struct green_intercept_info *info)
{
	*info = (struct green_intercept_info){ 0 };
	return -ENOTSUP;
}
