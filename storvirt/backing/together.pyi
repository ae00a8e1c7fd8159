"""Nothing here is for Python; together.h explains."""
