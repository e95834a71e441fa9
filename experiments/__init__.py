"""Where models and data meet."""

import utils  # noqa: F401  # sets how threads wait, before torch is imported
