# The worker looks first and sets its idle bit then.
/^static void sleep_until_called/,/^}/{
	s/^\tatomic_fetch_or_explicit(idle_word(w), bit, memory_order_seq_cst);/\tbool look = !called(w) \&\& (rest || !can_steal(w));\n&/
	s/if (!called(w) && (rest || !can_steal(w))) {/if (look) {/
}
