# What was handed over is not published.
/^void park_finish/,/^}/s/PARK_DONE, memory_order_acq_rel/PARK_DONE, memory_order_acquire/
