# An OS thread that sleeps is not called.
/^static void let_go/,/^}/s/sys_futex_wake(.*);/(void)gt;/
