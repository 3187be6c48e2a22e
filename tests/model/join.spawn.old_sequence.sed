# The joiner's sequence is read before the word is in the hands of the end.
/^static void announce_end/,/^}/{
	s/^\tuint32_t who;/\tuint64_t old;\n&/
	s/^\t\twho = (uint32_t)word & GT_INDEX_MASK;/\t\told = self->join_seq, who = (uint32_t)word \& GT_INDEX_MASK;/
	s/self->join_seq };/old };/
}
