# A wait is given up although somebody has claimed it.
/^bool park_abort/,/^}/s/return atomic_compare_exchange_strong_explicit(/return true || atomic_compare_exchange_strong_explicit(/
