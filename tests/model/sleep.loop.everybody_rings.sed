# Whoever finds the bit has notified the worker, not the one who cleared it.
/^static bool notify/,/^}/s/^\tif (won) {/\tif (true) {/
