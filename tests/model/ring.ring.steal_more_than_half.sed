# Head and tail of different times are not noticed.
/^unsigned ring_steal_half/,/^}/s/if (n > RING_SIZE \/ 2) {.*/if (false) {/
