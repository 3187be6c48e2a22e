# The next context does not look for the cancel flag.
/^void park_saved/,/^}/s/& GT_LOOK))/\& 0))/
