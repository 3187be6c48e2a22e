/* SPDX-License-Identifier: MIT
 *
 * Finding the program, following a script to its interpreter, and what does not depend
 * on the contents of the file: rights that it is given.
 */
#include "program.h"
#include "elf.h"
#include "greenrun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPT_DEPTH_MAX 5  /* as the kernel has it */
#define SCRIPT_LINE_MAX 256 /* the same */

/* ---- where it is ------------------------------------------------------------ */

/* 0, or an errno. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? EISDIR : EACCES;
	return access(path, X_OK) < 0 ? errno : 0;
}

static int not_found(const char *name, int error)
{
	return problem(error == ENOENT || error == ENOTDIR ? EXIT_ABSENT : EXIT_REFUSED, "%s: %s",
	               name, strerror(error));
}

int program_find(const char *name, char path[PATH_MAX])
{
	const char *search = getenv("PATH");
	int error = ENOENT, r;

	if (strchr(name, '/') || !*name) {
		if ((size_t)snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
			return not_found(name, ENAMETOOLONG);
		r = *name ? executable(path) : ENOENT;
		return r ? not_found(name, r) : 0;
	}
	if (!search)
		search = "/bin:/usr/bin"; /* as glibc has it */
	for (;;) {
		size_t n = strcspn(search, ":");
		int length =
			snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, search, n ? "/" : "", name);
		if (length > 0 && length < PATH_MAX) {
			if (!(r = executable(path)))
				return 0;
			if (r == EACCES ||
			    r == EISDIR) /* found, but: said when there is no other */
				error = r;
		}
		if (!search[n])
			return not_found(name, error);
		search += n + 1;
	}
}

/* ---- rights ----------------------------------------------------------------- */

/* Would the kernel give it rights that its caller lacks?  The dynamic linker then takes
 * no library from the environment. */
static const char *raised_rights(const char *path, const struct stat *st)
{
	struct statvfs fs;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return NULL;
	if (statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOSUID))
		return NULL;
	if ((st->st_mode & S_ISUID) && st->st_uid != getuid())
		return "setuid";
	if ((st->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st->st_gid != getgid())
		return "setgid";
	if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
		return "given capabilities by its file";
	return NULL;
}

/* ---- scripts ---------------------------------------------------------------- */

/* The interpreter of a script into path.  True if the file is one. */
static bool script_interpreter(int fd, char path[PATH_MAX])
{
	char line[SCRIPT_LINE_MAX + 1], *start, *end;
	ssize_t n = pread(fd, line, SCRIPT_LINE_MAX, 0);

	if (n < 0)
		return false;
	line[n] = 0;
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return false;
	line[strcspn(line, "\n")] = 0;
	start = line + 2 + strspn(line + 2, " \t");
	end = start + strcspn(start, " \t");
	snprintf(path, PATH_MAX, "%.*s", (int)(end - start), start);
	return true;
}

static int check_file(const char *path, int depth)
{
	char interpreter[PATH_MAX];
	const char *raised;
	struct stat st;
	int fd, status;

	if (depth > SCRIPT_DEPTH_MAX)
		return problem(EXIT_REFUSED, "%s: %s", path, strerror(ELOOP));
	if (depth && (status = executable(path)))
		return not_found(path, status);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* may be run, may not be read: the kernel decides, nothing can be said */
		return 0;
	if (fstat(fd, &st) == 0 && (raised = raised_rights(path, &st))) {
		status = problem(EXIT_REFUSED,
		                 "%s is %s: the dynamic linker loads nothing into it for a "
		                 "caller with fewer rights.\n"
		                 "Run greenrun as the user that the program becomes, or a copy "
		                 "of it without these rights",
		                 path, raised);
	} else if (script_interpreter(fd, interpreter)) {
		status = check_file(interpreter, depth + 1);
	} else if (elf_is(fd)) {
		status = elf_check(fd, path);
	} else { /* execvp() has the shell read it */
		status = check_file("/bin/sh", depth + 1);
	}
	close(fd);
	return status;
}

int program_check(const char *path)
{
	return check_file(path, 0);
}
