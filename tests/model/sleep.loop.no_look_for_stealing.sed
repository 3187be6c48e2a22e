# A sleeper does not look whether there is something to steal.
/^static void sleep_until_called/,/^}/s/ && (rest || !can_steal(w))//
