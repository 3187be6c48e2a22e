# A thief takes without comparing.
/^bool deque_steal/,/^}/{
	s/if (atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1, memory_order_seq_cst,/if (atomic_exchange_explicit(\&d->top, top + 1, memory_order_seq_cst) + 1)/
	/^ *	* *memory_order_relaxed))$/d
}
