"""Parts that know neither models nor data sets."""

import os

# Threads that wait for each other by spinning lose several times their speed on a machine that does anything else.
# It has to be said before torch is imported; a value that the user has set stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
