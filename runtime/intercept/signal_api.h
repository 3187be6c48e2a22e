/* SPDX-License-Identifier: MIT
 *
 * What the calls of descriptors need of signals.
 */
#ifndef INTERCEPT_SIGNAL_API_H
#define INTERCEPT_SIGNAL_API_H

#include "gt.h"

/* Has self a signal that it will act on at the end of its call? */
__attribute__((weak)) internal bool signal_pending(struct gt *self);

/* A signal that self has earned by the call it is in (SIGPIPE), for delivery at its end. */
__attribute__((weak)) internal void signal_raise(struct gt *self, int sig, int code);

/* Installs the mask of ppoll(2) and its like for the time of the call: 0, -EINVAL, -EFAULT.
 * A NULL mask changes nothing. */
__attribute__((weak)) internal long signal_mask_for_call(const void *mask, size_t size);

#endif
