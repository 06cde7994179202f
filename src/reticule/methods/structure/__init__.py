"""Methods that change which units there are, and where."""
