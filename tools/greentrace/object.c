/* SPDX-License-Identifier: MIT
 *
 * Opening the BPF programs on kernels with type information and without.
 */
#include "object.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* libbpf wants the kernel's types as soon as one of the programs refers to them, be it not to
 * be loaded.  It takes the programs' own instead, which nobody then looks into. */
static const char *own_types(void)
{
	static char path[40];
	size_t size;

	if (path[0])
		return path;
	const void *elf = greentrace_bpf__elf_bytes(&size);
	int fd = memfd_create("types", MFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (write(fd, elf, size) != (ssize_t)size) {
		close(fd);
		return NULL;
	}
	/* Stays open: libbpf reads it when it loads. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

struct greentrace_bpf *object_open(bool kernel_types)
{
	const struct bpf_object_open_opts options = {
		.sz = sizeof(options),
		.btf_custom_path = kernel_types ? NULL : own_types(),
	};

	return greentrace_bpf__open_opts(&options);
}
