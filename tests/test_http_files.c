/* SPDX-License-Identifier: MIT
 *
 * Opening static files: what lies below the root is found, nothing else is, with
 * openat2() and without.
 */
#include "files.h"
#include "harness.h"

#include <fcntl.h>

static char base[] = "/tmp/green-http-files-XXXXXX";

static void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* base/secret is outside; base/root/… is inside. */
static int set_up(void)
{
	if (!mkdtemp(base) || chdir(base) != 0)
		return -1;
	if (mkdir("root", 0755) != 0 || mkdir("root/dir", 0755) != 0)
		return -1;
	write_file("secret", "secret");
	write_file("root/file", "file");
	write_file("root/dir/inner", "inner");
	if (symlink("../secret", "root/out") != 0 || symlink("/etc/passwd", "root/absolute") != 0 ||
	    symlink("..", "root/up") != 0 || symlink("dir/inner", "root/in") != 0 ||
	    symlink("loop", "root/loop") != 0)
		return -1;
	return mkfifo("root/fifo", 0644);
}

static int tear_down(void)
{
	static const char *const names[] = { "root/fifo",      "root/loop",     "root/in",
		                             "root/up",        "root/absolute", "root/out",
		                             "root/dir/inner", "root/file",     "secret" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	return rmdir("root/dir") | rmdir("root") | chdir("/") | rmdir(base);
}

static int open_size(const char *name)
{
	struct stat st;
	int fd = files_open(name, &st);

	if (fd < 0)
		return fd;
	close(fd);
	return S_ISREG(st.st_mode) ? (int)st.st_size : 1000;
}

static void check_names(bool walking)
{
	REQUIRE_EQ(set_up(), 0);
	CHECK_EQ(files_init("root", walking), 0);
	CHECK_EQ(open_size("file"), 4);
	CHECK_EQ(open_size("dir/inner"), 5);
	CHECK_EQ(open_size("dir"), 1000);
	CHECK_EQ(open_size("dir/"), 1000);
	CHECK_EQ(open_size(""), 1000);
	CHECK_EQ(open_size("fifo"), 1000); /* and does not wait for a writer */
	CHECK_EQ(open_size("missing"), -ENOENT);
	CHECK_EQ(open_size("missing/file"), -ENOENT);
	CHECK_EQ(open_size("file/x"), -ENOTDIR);
	CHECK_EQ(open_size("loop"), -ELOOP);
	CHECK(open_size("out") < 0);
	CHECK(open_size("absolute") < 0);
	CHECK(open_size("up/secret") < 0);
	CHECK(open_size("../secret") < 0);
	CHECK(open_size("dir/../../secret") < 0);
	CHECK(open_size("/etc/passwd") < 0);
}

TEST(openat2)
{
	check_names(false);
	/* A link that stays inside is followed. */
	if (open_size("in") != 5)
		CHECK_EQ(open_size("in"), -ELOOP); /* no openat2() here */
	CHECK_EQ(tear_down(), 0);
}

TEST(walking)
{
	check_names(true);
	CHECK_EQ(open_size("in"), -ELOOP);
	CHECK_EQ(tear_down(), 0);
}

TEST(root_must_be_a_directory)
{
	REQUIRE_EQ(set_up(), 0);
	CHECK_EQ(files_init("root/file", false), -ENOTDIR);
	CHECK_EQ(files_init("nowhere", false), -ENOENT);
	CHECK_EQ(tear_down(), 0);
}
