//! A sink that keeps the last flush in memory.
