# The index is published before the slot is filled.
/^bool ring_push/,/^}/{
	/atomic_store_explicit(&r->slot/d
	s/^\tatomic_store_explicit(&r->tail.*/&\n\tatomic_store_explicit(\&r->slot[tail % RING_SIZE], value, memory_order_relaxed);/
}
