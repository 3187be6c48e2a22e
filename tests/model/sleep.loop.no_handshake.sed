# It goes on before the one who took its bit has said what for.
/^static void sleep_until_called/,/^}/{
	s/while (!(how = \(.*\)))$/how = \1;/
	/cpu_pause();/d
}
