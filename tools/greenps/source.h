/* SPDX-License-Identifier: MIT
 *
 * The line of source that an address is of.
 */
#ifndef SOURCE_H
#define SOURCE_H

#include <elfutils/libdwfl.h>
#include <stdint.h>

/* Its path, which is the module's to free, and in *line its number; NULL: not known.  Where
 * the compiler has put a function of the system's headers there, as read(2) and fgets(3) are
 * when _FORTIFY_SOURCE is set, it is the line that calls that. */
const char *source_of(Dwfl_Module *module, uint64_t address, int *line);

#endif
