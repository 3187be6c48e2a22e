# The thief does not acquire what the index publishes.
/^unsigned ring_steal_half/,/^}/s/&r->tail, memory_order_acquire/\&r->tail, memory_order_relaxed/
