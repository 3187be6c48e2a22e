# The saved registers are not acquired.
/^void park_finish/,/^}/s/PARK_DONE, memory_order_acq_rel/PARK_DONE, memory_order_release/
