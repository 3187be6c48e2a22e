# It does not wait until what it is handed is there.
/^static enum wake_reason foreign_commit/,/^}/s/while (!(word & PARK_DONE))/while (!(word \& PARK_CLAIMED))/
