# The next context does not look for the cancel flag.
/^void park_saved/,/^}/s/& GT_CANCELLED))/\& 0))/
