# The owner does not look whether there is room.
s/if (tail - head >= RING_SIZE)/if (tail - head > RING_SIZE)/
