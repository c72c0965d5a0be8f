//! From readings to one correct number per trigger, and when to answer it.
