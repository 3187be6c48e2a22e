# The index is published without what was written before.
/^int deque_push/,/^}/s/bottom + 1, memory_order_release/bottom + 1, memory_order_relaxed/
