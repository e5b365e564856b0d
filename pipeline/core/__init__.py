"""What everything else may use: errors, limits, base classes of settings, tables from elsewhere, chat templates."""
