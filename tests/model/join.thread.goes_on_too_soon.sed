# The joiner does not wait until the end has read its sequence.
/^static int join_wait/,/^}/s/while (atomic_load_explicit(&gt->join/if (0 \&\& atomic_load_explicit(\&gt->join/
