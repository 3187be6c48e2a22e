/* SPDX-License-Identifier: MIT
 *
 * C++ exceptions that are in flight or being handled while their thread waits, and goes on
 * wherever the scheduler has it do so.
 */
extern "C" {
#include "libraries.h"
}

#include <exception>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

thread_local int destroyed;

/* Waits while the exception that destroys it is in flight. */
struct slow {
	~slow()
	{
		usleep(1000);
		destroyed += std::uncaught_exceptions() == 1;
	}
};

[[noreturn]] void fail(int depth, const std::string &what)
{
	slow one;

	if (depth == 0)
		throw std::runtime_error(what);
	fail(depth - 1, what);
}

/* Waits while it handles one exception, and throws and handles another meanwhile. */
bool handles(int number, int round)
{
	const std::string what = std::to_string(number) + " in " + std::to_string(round);

	destroyed = 0;
	try {
		fail(2, what);
	} catch (const std::exception &first) {
		usleep(1000);
		try {
			fail(0, "another");
		} catch (const std::exception &second) {
			if (second.what() != std::string("another"))
				return false;
		}
		return first.what() == what && destroyed == 4 && std::uncaught_exceptions() == 0;
	}
	return false;
}

} // namespace

extern "C" bool use_exceptions(int number)
{
	bool good = true;

	usleep(100000);
	for (int i = 0; good && goes_on(i); i++)
		good = handles(number, i);
	return good;
}
