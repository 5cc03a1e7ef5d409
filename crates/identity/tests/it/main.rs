//! Laws of identity, seen from outside.
