"""Parts that know neither models nor data sets."""
