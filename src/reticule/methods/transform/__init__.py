"""Methods that work on kernels as frequencies."""
