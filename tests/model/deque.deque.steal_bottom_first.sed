# A thief looks at bottom before top.
/^bool deque_steal/,/^}/{
	/uint64_t top = /d
	s/^\(\tuint64_t bottom = .*\)/\1\n\tuint64_t top = atomic_load_explicit(\&d->top, memory_order_seq_cst);/
}
