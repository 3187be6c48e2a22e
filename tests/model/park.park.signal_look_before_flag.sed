# The look for a parked thread comes before the flag of a signal.
/^int park_signal/,/^}/{
	s/^\tint r = gt_set_flag/\tend_wait(gt_at((uint32_t)thread \& GT_INDEX_MASK), WAKE_SIGNAL);\n&/
	s|^\t\tend_wait(gt, WAKE_SIGNAL);|\t\treturn 0;|
}
