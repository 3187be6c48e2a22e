# The owner takes the last entry without asking.
/bool won =/,/memory_order_relaxed);/c\
	bool won = (atomic_store_explicit(&d->top, top + 1, memory_order_seq_cst), true);
