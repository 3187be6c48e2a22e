# The index is published before the slot is filled.
/^int deque_push/,/^}/{
	/atomic_store_explicit(slot_at(a, bottom)/d
	s/^\tatomic_store_explicit(&d->bottom, bottom + 1.*/&\n\tatomic_store_explicit(slot_at(a, bottom), value, memory_order_relaxed);/
}
