# A thief takes two by one CAS: the owner may have popped the second one.
/^bool deque_steal/,/^}/{
	s|/\* Also releases the slot.*|uint64_t more = bottom - top > 1;\n\tif (more)\n\t\tvalue[1] = atomic_load_explicit(slot_at(a, top + 1), memory_order_relaxed);|
	s/top + 1, memory_order_seq_cst/top + 1 + more, memory_order_seq_cst/
	s/^\t*return true;/\t\treturn true;\n\tif (more)\n\t\tvalue[1] = 0;/
}
