"""Which class, how sure, how wrong: one run's predictions on unchanged pairs, looked at closely."""
