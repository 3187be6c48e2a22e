# The owner reads the inbox and empties it then.
s/uint32_t at = atomic_exchange_explicit(&w->inbox, GT_NONE, memory_order_acquire);/uint32_t at = atomic_load_explicit(\&w->inbox, memory_order_acquire);\n\t\tatomic_store_explicit(\&w->inbox, GT_NONE, memory_order_relaxed);/
