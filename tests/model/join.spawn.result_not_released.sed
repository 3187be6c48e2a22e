# Who joins later need not see what the thread has done.
/^static void announce_end/,/^}/s/memory_order_acq_rel, memory_order_acquire/memory_order_relaxed, memory_order_relaxed/
