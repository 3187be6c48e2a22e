# A waker claims what another may have claimed since it looked.
/^static bool claim/,/^}/{
	/while (!atomic_compare_exchange_weak_explicit(&ticket.gt->park,/,/));$/c\
	while ((atomic_fetch_or_explicit(&ticket.gt->park, set, memory_order_acq_rel), false));
}
