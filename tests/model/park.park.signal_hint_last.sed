# The hint of a signal is taken away after the flag: it may be the next one's.
/^bool park_take_signal/,/^}/{
	/atomic_store_explicit/d
	s/^\treturn id/\tatomic_store_explicit(\&self->look, 0, memory_order_seq_cst);\n&/
}
