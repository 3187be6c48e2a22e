# It sets none at all.
/^static void sleep_until_called/,/^}/s/^\tatomic_fetch_or_explicit(idle_word(w), bit, memory_order_seq_cst);//
