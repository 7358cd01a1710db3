//! The kernel lab and the project's chores.
