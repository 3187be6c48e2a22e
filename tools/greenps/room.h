/* SPDX-License-Identifier: MIT
 *
 * How large tables are.  In a fuzzer, whose inputs are small and many, its time would go into
 * clearing them.
 */
#ifndef ROOM_H
#define ROOM_H

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define ROOM(n) ((n) / 256)
#else
#define ROOM(n) (n)
#endif

#endif
