not SQL: a hidden file, as some systems make them
