# What is woken is looked at when it may be something else already.
/^bool park_wake/,/^}/{
	/uint8_t kind/d
	s/let_go(ticket.gt, kind)/let_go(ticket.gt, gt_kind(ticket.gt))/
}
