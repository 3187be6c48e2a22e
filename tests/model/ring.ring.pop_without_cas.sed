# The owner takes without comparing.
/^bool ring_pop/,/^}/{
	s/if (atomic_compare_exchange_weak_explicit(&r->head, &head, head + 1,/if (atomic_exchange_explicit(\&r->head, head + 1, memory_order_acq_rel) || true)/
	/^ *	* *memory_order_acq_rel,$/d
	/^ *	* *memory_order_acquire))$/d
}
