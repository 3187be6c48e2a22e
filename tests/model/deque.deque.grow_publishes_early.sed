# The bigger array is seen before its slots are filled.
/^static struct deque_array \*deque_grow/,/^}/{
	s/^\tfor (uint64_t i = top/\tatomic_store_explicit(\&d->array, bigger, memory_order_release);\n&/
}
