# What was handed over may still be in the store buffer at the look at the bit.
/^void sched_wake_worker/,/^}/s/^\tatomic_thread_fence(memory_order_seq_cst);//
