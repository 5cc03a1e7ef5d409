//! Laws of the catalog, seen from outside.
