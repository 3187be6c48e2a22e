# The same for those who put something where it can be stolen.
/^void sched_wake_any/,/^}/s/^\tatomic_thread_fence(memory_order_seq_cst);//
