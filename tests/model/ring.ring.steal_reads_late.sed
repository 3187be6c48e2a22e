# A thief reads the slots once it has won them: they may have been filled again.
/^unsigned ring_steal_half/,/^}/{
	s/^\t\t\treturn n;/\t\t{\n\t\t\tfor (uint32_t i = 0; i < n; i++)\n\t\t\t\tvalues[i] = atomic_load_explicit(\&r->slot[(head + i) % RING_SIZE],\n\t\t\t\t                                 memory_order_relaxed);\n\t\t\treturn n;\n\t\t}/
}
