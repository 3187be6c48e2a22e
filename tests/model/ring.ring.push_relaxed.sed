# The index is published without what was written before.
/^bool ring_push/,/^}/s/tail + 1, memory_order_release/tail + 1, memory_order_relaxed/
