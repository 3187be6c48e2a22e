# The lower bottom may still be in the store buffer when top is read.
s/atomic_exchange_explicit(&d->bottom, bottom, memory_order_seq_cst)/atomic_store_explicit(\&d->bottom, bottom, memory_order_release)/
