# A cancel acts on a word that does not say yet whether it may.
/^static bool waiting/,/^}/s/PARK_ARMED | PARK_SAVED/PARK_ARMED/g
