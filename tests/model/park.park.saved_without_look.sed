# The next context does not look whether the waker came first.
/^void park_saved/,/^}/s/^\tif (was & PARK_DONE)/\tif (was \& 0)/
