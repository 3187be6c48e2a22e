/* SPDX-License-Identifier: MIT
 *
 * A request now and then computes for 100 ms without a call that may switch.
 */
#include "planted.h"

#include <stdint.h>

#define REQUESTS 40

KEPT static uint32_t checksum(int64_t ns)
{
	int64_t end = cpu_now() + ns;
	uint32_t sum = 1;

	do {
		for (uint32_t i = 0; i < 100000; i++)
			sum = (sum ^ i) * 16777619u;
	} while (cpu_now() < end);
	return sum;
}

KEPT static uint32_t upload(int n)
{
	uint32_t sum = 0;

	for (int part = 0; part < 10 && n % 10 == 9; part++) {
		if (well)
			green_yield();
		sum ^= checksum(well ? 0 : GREEN_MS(10)); /* planted */
	}
	NO_JUMP;
	return sum;
}

static void *serve(void *arg)
{
	for (int i = 0; i < REQUESTS; i++) {
		green_sleep(GREEN_MS(1));
		upload(i);
	}
	return arg;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
