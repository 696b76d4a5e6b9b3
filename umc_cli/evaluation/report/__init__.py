"""Results as people read them: figures and tables from arrays; nothing here measures anything."""
