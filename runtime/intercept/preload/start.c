/* SPDX-License-Identifier: MIT
 *
 * libgreenrun.so: preloaded, it switches interception on before the program's own code
 * runs, constructors included, and lets it go on as a green thread.
 */
#include <green.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int start_main_fn(int (*main)(int, char **, char **), int argc, char **argv,
                          void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
                          void *stack_end);

/* What a program's _start calls. */
__attribute__((visibility("default"))) start_main_fn __libc_start_main;

/* greenrun --stack: for threads whose attributes say nothing.  libc's own word for it, the
 * soft limit on the stack, would count for main() and for children as well. */
static void set_thread_stack(void)
{
	const char *text = getenv("GREEN_THREAD_STACK");
	pthread_attr_t attributes;

	if (!text || pthread_attr_init(&attributes))
		return;
	if (pthread_attr_setstacksize(&attributes, strtoull(text, NULL, 10)) ||
	    pthread_setattr_default_np(&attributes))
		fprintf(stderr, "greenrun: GREEN_THREAD_STACK: \"%s\" is no size of a stack\n",
		        text);
	pthread_attr_destroy(&attributes);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
	start_main_fn *real;
	void *symbol = dlsym(RTLD_NEXT, "__libc_start_main");
	int r = green_intercept_start();

	memcpy(&real, &symbol, sizeof(real));
	if (r < 0) {
		fprintf(stderr, "greenrun: %s\n", green_error());
		_Exit(125);
	}
	set_thread_stack();
	return real(main, argc, argv, init, fini, rtld_fini, stack_end);
}
