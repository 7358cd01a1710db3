//! rtrec's own chores.

fn main() {}
