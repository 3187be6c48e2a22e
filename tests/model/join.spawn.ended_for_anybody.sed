# One that is detached, or that somebody is about to join, is left to all.
/^static uint32_t join_ended/,/^}/s/return GT_JOIN_TAKEN;/return GT_JOIN_DONE;/
