# What it compares when it lies down is newer than what it has looked at.
/^static enum wake_reason foreign_commit/,/^}/s/(uint32_t)word,/(uint32_t)atomic_load_explicit(\&self->park, memory_order_relaxed),/
