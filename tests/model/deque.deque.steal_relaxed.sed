# The thief does not acquire what the index publishes.
/^bool deque_steal/,/^}/s/&d->bottom, memory_order_seq_cst/\&d->bottom, memory_order_relaxed/
