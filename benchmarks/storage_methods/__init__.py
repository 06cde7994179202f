"""Parts of the storage methods' benchmark."""
