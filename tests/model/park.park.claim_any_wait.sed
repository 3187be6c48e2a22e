# A stale ticket wakes.
s/if ((word & SEQ_MASK) != ticket.seq ||/if (/
