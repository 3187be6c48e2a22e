# The waker readies the thread whether it is saved or not.
/^void park_finish/,/^}/s/^\tif (was & PARK_SAVED)/\t(void)was;/
