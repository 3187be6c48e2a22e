# The registers are not published.
/^void park_saved/,/^}/{
	/uint64_t was =/,/);/s/memory_order_seq_cst/memory_order_relaxed/
}
