# One that somebody waits for is left to whoever comes.
/^static void announce_end/,/^}/s/gen | GT_JOIN_TAKEN/gen | GT_JOIN_DONE/
