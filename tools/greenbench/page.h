/* SPDX-License-Identifier: MIT
 *
 * What a page of plain memory costs here: the limit of the machine for whatever gives a
 * stack its first page.
 */
#ifndef PAGE_H
#define PAGE_H

/* CPU time of the first touch of a page, ns: the mean over many of an anonymous mapping,
 * one in 64 KiB, as those of stacks lie.  NAN where there is no memory. */
double page_fault_ns(void);

#endif
