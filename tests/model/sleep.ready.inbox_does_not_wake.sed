# Nobody is told.
/^static void inbox_push/,/^}/s/^\tsched_wake_worker(target);//
