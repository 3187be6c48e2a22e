# The look for a parked thread comes before the flag.
/^int green_cancel/,/^}/{
	s/^\tint r = gt_set_flag/\tpark_cancel(gt_at((uint32_t)thread \& GT_INDEX_MASK));\n&/
	s|^\t\tpark_cancel(gt);|\t\treturn 0;|
}
